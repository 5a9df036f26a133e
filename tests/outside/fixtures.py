"""What the official conformance suite asks a server to have, beside our own tools; only for that suite.

Names and texts are the suite's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    EmptyResult,
    GetPromptResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    PromptMessage,
    SamplingMessage,
    SetLevelRequestParams,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

Ctx = Context[Any, Any]
Schema = Mapping[str, Any]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SOUND = base64.b64encode(
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"
).decode()
BRIEF_S = 0.02
"""Seconds between two notices."""
NAME: Schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
YES: Schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
COLOUR: Schema = {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}
DEFAULTS: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
ENUMS: Schema = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {
            "type": "string",
            "oneOf": [
                {"const": "value1", "title": "First Option"},
                {"const": "value2", "title": "Second Option"},
                {"const": "value3", "title": "Third Option"},
            ],
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"const": "value1", "title": "First Choice"},
                    {"const": "value2", "title": "Second Choice"},
                    {"const": "value3", "title": "Third Choice"},
                ]
            },
        },
    },
}
RICH_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
TOOLS: list[Tool] = []


def fixture(function: Any) -> Any:
    """Make the function a tool of its name."""
    TOOLS.append(Tool.from_function(function, description=function.__doc__, structured_output=False))
    return function


# What a tool returns


@fixture
async def test_simple_text() -> str:
    """A text."""
    return "This is a simple text response for testing."


@fixture
async def test_image_content() -> list[ImageContent]:
    """An image."""
    return [ImageContent(type="image", data=PIXEL, mime_type="image/png")]


@fixture
async def test_audio_content() -> list[AudioContent]:
    """A sound."""
    return [AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]


@fixture
async def test_embedded_resource() -> list[EmbeddedResource]:
    """A resource."""
    return [embedded("test://embedded-resource", "This is an embedded resource content.")]


@fixture
async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """A text, an image and a resource."""
    return [
        TextContent(type="text", text="Multiple content types test:"),
        ImageContent(type="image", data=PIXEL, mime_type="image/png"),
        embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ]


@fixture
async def test_error_handling() -> str:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@fixture
async def test_custom_headers(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})], query: str = ""
) -> str:
    """Takes an argument that stands in a header too."""
    return f"{region} {query}"


@fixture
async def json_schema_2020_12_tool(name: str = "") -> str:
    """Has a schema of many words."""
    return name


TOOLS[-1].parameters = RICH_SCHEMA


# What is told meanwhile


@fixture
async def test_tool_with_logging(context: Ctx) -> str:
    """Logs three times."""
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await logged(context, text)
        await anyio.sleep(BRIEF_S)
    return "done"


@fixture
async def test_logging_tool(context: Ctx) -> str:
    """Logs once."""
    await logged(context, "once")
    return "done"


@fixture
async def test_tool_with_progress(context: Ctx) -> str:
    """Tells its progress."""
    for done in (0, 50, 100):
        await context.report_progress(done, 100)
        await anyio.sleep(BRIEF_S)
    return "done"


@fixture
async def test_streaming_elicitation(context: Ctx) -> InputRequiredResult | str:
    """Tells its progress, then asks."""
    await context.report_progress(1, 2)
    return (
        "done" if context.input_responses else InputRequiredResult(input_requests={"ok": form("Go on?", YES)})
    )


@fixture
async def test_trigger_tool_change(context: Ctx) -> str:
    """Says that the tools changed."""
    await context.notify_tools_changed()
    return "done"


@fixture
async def test_trigger_prompt_change(context: Ctx) -> str:
    """Says that the prompts changed."""
    await context.notify_prompts_changed()
    return "done"


# What older clients are asked on the way


@fixture
async def test_sampling(prompt: str, context: Ctx) -> str:
    """Asks the client's model."""
    answer = await context.session.send_request(
        sampled(prompt), CreateMessageResult, metadata=related(context)
    )
    return f"LLM response: {getattr(answer.content, 'text', '')}"


@fixture
async def test_elicitation(message: str, context: Ctx) -> str:
    """Asks the user."""
    schema = {"type": "object", "properties": {"response": {"type": "string"}}, "required": ["response"]}
    return f"User response: {await asked(context, message, schema)}"


@fixture
async def test_elicitation_sep1034_defaults(context: Ctx) -> str:
    """Asks with defaults."""
    return f"Elicitation completed: {await asked(context, 'Please review', DEFAULTS)}"


@fixture
async def test_elicitation_sep1330_enums(context: Ctx) -> str:
    """Asks with choices."""
    return f"Elicitation completed: {await asked(context, 'Please choose', ENUMS)}"


# What newer clients are asked between two rounds


@fixture
async def test_input_required_result_elicitation(context: Ctx) -> InputRequiredResult | str:
    """Asks for a name."""
    answer = (context.input_responses or {}).get("user_name")
    if isinstance(answer, ElicitResult):
        return f"Hello, {(answer.content or {}).get('name')}!"
    return InputRequiredResult(input_requests={"user_name": form("What is your name?", NAME)})


@fixture
async def test_input_required_result_sampling(context: Ctx) -> InputRequiredResult | str:
    """Asks the client's model."""
    answer = (context.input_responses or {}).get("capital_question")
    if isinstance(answer, CreateMessageResult):
        return str(getattr(answer.content, "text", ""))
    return InputRequiredResult(input_requests={"capital_question": sampled("What is the capital of France?")})


@fixture
async def test_input_required_result_list_roots(context: Ctx) -> InputRequiredResult | str:
    """Asks for the roots."""
    if "client_roots" in (context.input_responses or {}):
        return "roots came"
    return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})


@fixture
async def test_input_required_result_request_state(context: Ctx) -> InputRequiredResult | str:
    """Asks, and keeps a state."""
    if context.request_state == "kept" and "confirm" in (context.input_responses or {}):
        return "state-ok"
    return InputRequiredResult(input_requests={"confirm": form("Please confirm", YES)}, request_state="kept")


@fixture
async def test_input_required_result_tampered_state(context: Ctx) -> InputRequiredResult | str:
    """The same; the SDK refuses a state that was changed."""
    return await test_input_required_result_request_state(context)


@fixture
async def test_input_required_result_multiple_inputs(context: Ctx) -> InputRequiredResult | str:
    """Asks for three things at once."""
    asks: dict[str, Any] = {
        "user_name": form("What is your name?", NAME),
        "greeting": sampled("Generate a greeting"),
        "client_roots": ListRootsRequest(),
    }
    if asks.keys() <= (context.input_responses or {}).keys():
        return "all came"
    return InputRequiredResult(input_requests=asks, request_state="kept")


@fixture
async def test_input_required_result_multi_round(context: Ctx) -> InputRequiredResult | str:
    """Asks twice, one after the other."""
    given = context.input_responses or {}
    if context.request_state == "second" and "step2" in given:
        return "both came"
    if context.request_state == "first" and "step1" in given:
        step = {"step2": form("Step 2: What is your favorite color?", COLOUR)}
        return InputRequiredResult(input_requests={**step}, request_state="second")
    return InputRequiredResult(
        input_requests={"step1": form("Step 1: What is your name?", NAME)}, request_state="first"
    )


@fixture
async def test_input_required_result_capabilities(context: Ctx) -> InputRequiredResult | str:
    """Asks only for what the client can do."""
    can = context.client_capabilities
    asks: dict[str, Any] = {}
    if can and can.sampling:
        asks["greeting"] = sampled("Generate a greeting")
    if can and can.elicitation:
        asks["user_name"] = form("What is your name?", NAME)
    return InputRequiredResult(input_requests=asks) if asks and not context.input_responses else "done"


@fixture
async def test_missing_capability(context: Ctx) -> str:
    """Needs sampling."""
    can = context.client_capabilities
    if can is None or can.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "Sampling is needed.",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return "done"


def add(server: MCPServer[Any]) -> None:
    """The resources, prompts and the handlers that the suite asks for."""
    add_resources(server)
    add_prompts(server)

    @server.completion()
    async def _(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[], total=0, has_more=False)

    async def level(ctx: Any, params: SetLevelRequestParams) -> EmptyResult:
        return EmptyResult()

    inner = server._lowlevel_server  # pyright: ignore[reportPrivateUsage] # the server has no public way
    inner.add_request_handler("logging/setLevel", SetLevelRequestParams, level)


def add_resources(server: MCPServer[Any]) -> None:
    """A text, bytes, a template, and one to subscribe to."""

    @server.resource("test://static-text", mime_type="text/plain", description="A text.")
    def _() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png", description="An image.")
    def _() -> bytes:
        return base64.b64decode(PIXEL)

    @server.resource("test://template/{id}/data", mime_type="application/json", description="By id.")
    def _(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource", mime_type="text/plain", description="To subscribe to.")
    def _() -> str:
        return "watched"


def add_prompts(server: MCPServer[Any]) -> None:
    """Plain, with arguments, with a resource, with an image, and one that asks."""

    @server.prompt(name="test_simple_prompt", description="Plain.")
    def _() -> str:
        return "This is a simple prompt for testing."

    @server.prompt(name="test_prompt_with_arguments", description="With arguments.")
    def _(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt(name="test_prompt_with_embedded_resource", description="With a resource.")
    def _(resourceUri: str) -> Sequence[UserMessage]:
        resource = embedded(resourceUri, "Embedded resource content for testing.")
        return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]

    @server.prompt(name="test_prompt_with_image", description="With an image.")
    def _() -> Sequence[UserMessage]:
        image = ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return [UserMessage(image), UserMessage("Please analyze the image above.")]

    @server.prompt(name="test_input_required_result_prompt", description="Asks first.")
    async def _(context: Ctx) -> Any:
        if context.input_responses:
            text = TextContent(type="text", text="done")
            return GetPromptResult(messages=[PromptMessage(role="user", content=text)])
        return InputRequiredResult(input_requests={"user_context": form("What is your name?", NAME)})


def embedded(uri: str, text: str, mime_type: str = "text/plain") -> EmbeddedResource:
    """A resource inside a message."""
    return EmbeddedResource(
        type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    )


def form(message: str, schema: Schema) -> ElicitRequest:
    """A question to the user."""
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=dict(schema)))


def sampled(prompt: str) -> CreateMessageRequest:
    """A question to the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def related(context: Ctx) -> ServerMessageMetadata:
    """That a message belongs to this call."""
    return ServerMessageMetadata(related_request_id=context.request_context.request_id)


async def asked(context: Ctx, message: str, schema: Schema) -> str:
    """What the user answers during the call."""
    answer = await context.session.send_request(
        form(message, schema), ElicitResult, metadata=related(context)
    )
    return f"action={answer.action}, content={json.dumps(answer.content or {})}"


async def logged(context: Ctx, text: str) -> None:
    """A line of log, to a client that asked for it."""
    if context.protocol_version == "2026-07-28":
        return
    params = LoggingMessageNotificationParams(level="info", data=text)
    await context.session.send_notification(
        LoggingMessageNotification(params=params), related_request_id=context.request_context.request_id
    )
