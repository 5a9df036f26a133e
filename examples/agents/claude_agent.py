"""Claude Agent SDK, with the world's tools over MCP: `"tools": "served"`. Needs claude-agent-sdk, ANTHROPIC_API_KEY."""

import os

from claude_agent_sdk import AssistantMessage, ClaudeAgentOptions, ResultMessage, TextBlock, query

session = None  # of this conversation alone: the file is run anew for each


async def agent(turn):
    global session
    world = {
        "type": "http",
        "url": turn.tools_url,
        "headers": {"Authorization": f"Bearer {turn.tools_token}"},
    }
    options = ClaudeAgentOptions(
        system_prompt=turn.instructions,
        tools=[],
        model=os.environ.get("MODEL"),
        mcp_servers={"world": world},
        strict_mcp_config=True,
        setting_sources=[],
        allowed_tools=["mcp__world"],
        resume=session,
    )
    said = ""
    async for message in query(prompt=turn.text, options=options):
        if isinstance(message, AssistantMessage):
            words = "".join(block.text for block in message.content if isinstance(block, TextBlock))
            said = words or said
        elif isinstance(message, ResultMessage):
            session = message.session_id
    return said
