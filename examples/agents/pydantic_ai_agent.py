"""Pydantic AI. Needs pydantic-ai-slim[openai]."""

import os

from pydantic_ai import Agent, Tool
from pydantic_ai.models.openai import OpenAIChatModel

history = []  # of this conversation alone: the file is run anew for each


async def agent(turn):
    global history
    model = OpenAIChatModel(os.environ.get("MODEL", "gpt-5-mini"))
    desk = Agent(model, instructions=turn.instructions, tools=[Tool(f) for f in turn.functions])
    done = await desk.run(turn.text, message_history=history)
    history = done.all_messages()
    used = done.usage
    return {
        "text": done.output,
        "usage": {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens},
    }
