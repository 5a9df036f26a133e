"""AutoGen: an assistant that keeps the conversation itself. Needs autogen-agentchat and autogen-ext[openai]."""

import os

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient

INFO = {
    "vision": False,
    "function_calling": True,
    "json_output": False,
    "structured_output": False,
    "family": "unknown",
}


class Agent:
    desk = None

    async def reply(self, turn):
        if self.desk is None:
            self.desk = AssistantAgent(
                "desk",
                OpenAIChatCompletionClient(model=os.environ.get("MODEL", "gpt-5-mini"), model_info=INFO),
                tools=turn.functions,
                system_message=turn.instructions,
                max_tool_iterations=10,
            )
        done = await self.desk.run(task=turn.text)
        return done.messages[-1].content
