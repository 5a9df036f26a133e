"""CrewAI: a crew of one, given the conversation as its task. Needs crewai."""

import os

from crewai import LLM, Agent as CrewAgent, Crew, Task
from crewai.tools import BaseTool


class WorldTool(BaseTool):
    call: object

    def _run(self, arguments: dict) -> str:
        return self.call(self.name, **arguments)


def agent(turn):
    tools = [
        WorldTool(
            name=told["function"]["name"],
            description=f"{told['function']['description']} `arguments`: {told['function']['parameters']}",
            call=turn.call,
        )
        for told in turn.tools
    ]
    desk = CrewAgent(
        role="Support agent",
        goal="Answer the customer's last message.",
        backstory=turn.instructions,
        tools=tools,
        llm=LLM(model=f"openai/{os.environ.get('MODEL', 'gpt-5-mini')}"),
    )
    said = "\n".join(f"{m['role']}: {m['content']}" for m in turn.messages if m.get("content"))
    task = Task(description=said, expected_output="The reply to the customer, and nothing else.", agent=desk)
    return Crew(agents=[desk], tasks=[task]).kickoff().raw
