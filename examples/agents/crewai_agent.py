"""CrewAI: a crew of one that gets the conversation as its task. Needs crewai."""

import os

from crewai import LLM, Agent as CrewAgent, Crew, Task
from crewai.tools import tool


def agent(turn):
    desk = CrewAgent(
        role="Support agent",
        goal="Answer the customer's last message.",
        backstory=turn.instructions,
        tools=[tool(f.__name__)(f) for f in turn.functions],
        llm=LLM(model=f"openai/{os.environ.get('MODEL', 'gpt-5-mini')}"),
    )
    said = "\n".join(f"{m['role']}: {m['content']}" for m in turn.messages if m.get("content"))
    task = Task(description=said, expected_output="The reply to the customer, and nothing else.", agent=desk)
    return Crew(agents=[desk], tasks=[task]).kickoff().raw
