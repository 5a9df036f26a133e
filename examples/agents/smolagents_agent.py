"""Smolagents: a tool-calling agent that is not a coroutine. Needs smolagents[openai]."""

import os

from smolagents import OpenAIServerModel, Tool, ToolCallingAgent


class WorldTool(Tool):
    skip_forward_signature_validation = True
    output_type = "string"

    def __init__(self, turn, told):
        super().__init__()
        schema = told["parameters"]
        needed = schema.get("required", [])
        self.turn, self.name, self.description = turn, told["name"], told["description"]
        self.inputs = {
            name: {
                "type": one.get("type", "any"),
                "description": one.get("description", name),
                "nullable": name not in needed,
            }
            for name, one in schema.get("properties", {}).items()
        }

    def forward(self, **arguments):
        return self.turn.call(self.name, **{k: v for k, v in arguments.items() if v is not None})


class Agent:
    desk = None

    def reply(self, turn):
        if self.desk is None:
            model = OpenAIServerModel(
                os.environ.get("MODEL", "gpt-5-mini"),
                api_base=os.environ.get("OPENAI_BASE_URL"),
                api_key=os.environ.get("OPENAI_API_KEY"),
            )
            self.desk = ToolCallingAgent(
                [WorldTool(turn, told["function"]) for told in turn.tools],
                model,
                instructions=turn.instructions,
                verbosity_level=0,
            )
        return str(self.desk.run(turn.text, reset=False))
