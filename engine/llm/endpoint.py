"""A model at an OpenAI-compatible endpoint: Ollama, vLLM, LM Studio, a gateway, or the vendor itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ..errors import InvalidArgument
from ..net import (
    BadStatus,
    Broken,
    HttpClient,
    NetError,
    Response,
    Secrets,
    check_headers,
    check_key,
    in_time,
)
from ..records.environment import ModelAt, Prices, short_name
from .chat_format import NoCompletion, body_of, parsed, read_completion
from .client import ModelReply, ModelRequest, Usage
from .failures import Called, setup_error
from .fitting import fitting

PROBE_S: Final = 10.0


class EndpointModel:
    """Asks `base_url`/chat/completions. Raises at once if URL, key or headers are wrong.

    `where`: its place in `models`, named in errors.
    """

    def __init__(self, spec: ModelAt, client: HttpClient, secrets: Secrets, where: str) -> None:
        check_key(spec.key, f"{where}.key", secrets)
        check_headers(spec.headers, f"{where}.headers", secrets)
        base = spec.base_url.rstrip("/")
        if "?" in base or "#" in base:
            raise InvalidArgument(
                "A base_url has no query.",
                where=f"{where}.base_url",
                allowed="what stands before /chat/completions; secrets as `key` or in `headers`",
            )
        self._spec = spec
        self._client = client
        self._secrets = secrets
        self._where = where
        self._target = client.guard.target(f"{base}/chat/completions", f"{where}.base_url")
        self._listing = client.guard.target(f"{base}/models", f"{where}.base_url")
        self._called = Called(spec.model, client.guard.target(base, where).shown, spec.key, where)
        self._headers: dict[str, str] = {}

    @property
    def name(self) -> str:
        return short_name(self._spec)

    async def complete(self, request: ModelRequest) -> ModelReply:
        """The reply; if a schema is given, JSON that fits it, after one repair if necessary."""
        return await fitting(self._asked, request, self.name, self._where, self._secrets)

    async def probe(self) -> None:
        """Ask for the list of models, which costs nothing: SetupError if no call could succeed."""

        async def listed() -> Response:
            return await self._client.request("GET", self._listing, headers=self._sent())

        try:
            await in_time(listed, PROBE_S)
        except NetError as error:
            if not isinstance(error, BadStatus) or error.status == 401:
                raise setup_error(error, self._called, self._secrets) from error

    async def _asked(self, request: ModelRequest) -> ModelReply:
        spec = self._spec
        body = overlaid(body_of(request, spec.model, spec.temperature), spec.extra)
        try:
            reply = await self._client.post(
                self._target, encoded(body), self._sent(), timeout_s=spec.timeout_s, read=_read
            )
        except NetError as error:
            raise setup_error(error, self._called, self._secrets) from error
        return replace(without_secrets(reply, self._secrets), cost_usd=cost_usd(reply.usage, spec.prices))

    def _sent(self) -> dict[str, str]:
        """The headers with their secrets, read once."""
        if not self._headers:
            given = {**self._spec.headers, "Content-Type": "application/json"}
            sent = {
                name: self._secrets.value(value, f"{self._where}.headers.{name}")
                for name, value in given.items()
            }
            if self._spec.key:
                sent["Authorization"] = f"Bearer {self._secrets.value(self._spec.key, f'{self._where}.key')}"
            self._headers = sent
        return self._headers


def overlaid(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The body with fields overridden; null removes one."""
    return {k: v for k, v in {**body, **extra}.items() if v is not None} if extra else body


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as it is sent; lone surrogates are replaced, since no endpoint reads them."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def without_secrets(reply: ModelReply, secrets: Secrets) -> ModelReply:
    """The reply with secrets hidden: it will be stored."""
    calls = tuple(replace(call, arguments=secrets.hide(call.arguments)) for call in reply.tool_calls)
    return replace(reply, text=secrets.hide(reply.text), tool_calls=calls)


def cost_usd(usage: Usage, prices: Prices | None) -> float | None:
    """The cost of a call; None: unknown."""
    if prices is None:
        return None
    return (usage.input_tokens * prices.input + usage.output_tokens * prices.output) / 1_000_000


def _read(answer: Response) -> ModelReply:
    try:
        return read_completion(parsed(answer.body))
    except NoCompletion as error:
        raise Broken(f"the answer is no chat completion: {error}") from None
