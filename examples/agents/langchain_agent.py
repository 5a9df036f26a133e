"""LangChain: its ready-made agent. Needs langchain and langchain-openai."""

import os

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI


async def agent(turn):
    model = ChatOpenAI(model=os.environ.get("MODEL", "gpt-5-mini"), seed=turn.seed)
    desk = create_agent(model, turn.functions, system_prompt=turn.instructions)
    done = await desk.ainvoke({"messages": turn.messages})
    return done["messages"][-1].text
