"""OpenAI Agents SDK. Needs openai-agents."""

import os

from agents import Agent, Runner, function_tool, set_default_openai_api, set_tracing_disabled

set_tracing_disabled(True)
set_default_openai_api("chat_completions")
history = []  # of this conversation alone: the file is run anew for each


async def agent(turn):
    global history
    desk = Agent(
        name="desk",
        instructions=turn.instructions,
        tools=[function_tool(f, strict_mode=False) for f in turn.functions],
        model=os.environ.get("MODEL", "gpt-5-mini"),
    )
    done = await Runner.run(desk, [*history, {"role": "user", "content": turn.text}])
    history = done.to_input_list()
    return done.final_output
