"""LlamaIndex: a function agent with its memory. Needs llama-index-core and llama-index-llms-openai-like."""

import os

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike


class Agent:
    desk = memory = None

    async def reply(self, turn):
        if self.desk is None:
            model = OpenAILike(
                model=os.environ.get("MODEL", "gpt-5-mini"),
                api_base=os.environ.get("OPENAI_BASE_URL"),
                api_key=os.environ.get("OPENAI_API_KEY"),
                is_chat_model=True,
                is_function_calling_model=True,
            )
            tools = [FunctionTool.from_defaults(async_fn=f) for f in turn.functions]
            self.desk = FunctionAgent(
                tools=tools, llm=model, system_prompt=turn.instructions, streaming=False
            )
            self.memory = ChatMemoryBuffer.from_defaults()
        return str(await self.desk.run(turn.text, memory=self.memory))
