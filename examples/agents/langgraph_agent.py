"""LangGraph: a graph of a model and the world's tools. Needs langgraph and langchain-openai."""

import os

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


async def agent(turn):
    tools = turn.functions
    model = ChatOpenAI(model=os.environ.get("MODEL", "gpt-5-mini"), seed=turn.seed).bind_tools(tools)

    async def think(state):
        return {"messages": [await model.ainvoke([("system", turn.instructions), *state["messages"]])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    done = await graph.compile().ainvoke({"messages": turn.messages})
    return done["messages"][-1].text
