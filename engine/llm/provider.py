"""A model of a provider, by its litellm id: `openai/gpt-4o`, `anthropic/claude-…`, `ollama/…`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ..errors import InvalidArgument, MissingKey
from ..net import HttpClient, NetError, Retries, Secrets, check_headers, check_key
from ..records.environment import ModelAt, short_name
from .chat_format import body_of
from .client import ModelReply, ModelRequest
from .endpoint import cost_usd, overlaid, without_secrets
from .failures import OTHERS, Called, setup_error
from .fitting import fitting
from .litellm_calls import litellm_calls

EXTRA: Final = frozenset(
    (
        "frequency_penalty",
        "logit_bias",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "temperature",
        "thinking",
        "tool_choice",
        "top_k",
        "top_p",
        "user",
        "verbosity",
    )
)
"""Fields of a request that may be overridden. None of them says where it goes or with whose key."""


class ProviderModel:
    """Asks a provider through litellm, with our own pace, timeout and retries."""

    def __init__(self, spec: ModelAt, client: HttpClient, secrets: Secrets, where: str) -> None:
        check_key(spec.key, f"{where}.key", secrets)
        check_headers(spec.headers, f"{where}.headers", secrets)
        other = next((name for name in spec.extra if name not in EXTRA), None)
        if other is not None:
            raise InvalidArgument(
                f"`{other[:80]}` cannot be laid over a provider's request.",
                where=f"{where}.extra.{other[:80]}",
                allowed=sorted(EXTRA),
            )
        self._spec = spec
        self._client = client
        self._secrets = secrets
        self._where = where
        self._provider = spec.model.partition("/")[0]
        self._called = Called(spec.model, "", spec.key, where)
        self._ready = False

    @property
    def name(self) -> str:
        return short_name(self._spec)

    async def complete(self, request: ModelRequest) -> ModelReply:
        """The reply; if a schema is given, JSON that fits it, after one repair if necessary."""
        if not self._ready:
            await self.probe()
        return await fitting(self._asked, request, self.name, self._where, self._secrets)

    async def probe(self) -> None:
        """Raise MissingKey if the provider needs a variable that is not set, InvalidArgument if it is unknown."""
        calls = await litellm_calls()
        model = self._spec.model
        if not calls.knows(model):
            raise InvalidArgument(
                f"litellm knows no provider `{self._provider[:80]}`.",
                where=self._where,
                allowed="provider/model, such as openai/gpt-4o; or {model, base_url} of an endpoint",
            )
        missing = [] if self._spec.key else calls.missing_keys(model)
        if missing:
            role = self._where.rpartition(".")[2]
            raise MissingKey(
                f"No key for {role} model {model}: {' or '.join(missing)} is not set in the server's environment.",
                where=self._where,
                allowed=f"set it and restart, or {OTHERS}",
            )
        self._ready = True

    async def _asked(self, request: ModelRequest) -> ModelReply:
        spec = self._spec
        asked = overlaid(body_of(request, spec.model, spec.temperature), spec.extra)
        asked |= {"timeout": spec.timeout_s} | self._secret_parts()
        calls = await litellm_calls()

        async def attempt() -> ModelReply:
            return await calls.complete(asked, await self._client.lent_session())

        try:
            reply = await self._client.repeated(self._provider, attempt, spec.timeout_s, Retries())
        except NetError as error:
            raise setup_error(error, self._called, self._secrets) from error
        cost = reply.cost_usd if spec.prices is None else cost_usd(reply.usage, spec.prices)
        return replace(without_secrets(reply, self._secrets), cost_usd=cost)

    def _secret_parts(self) -> dict[str, Any]:
        spec, parts = self._spec, dict[str, Any]()
        if spec.key:
            parts["api_key"] = self._secrets.value(spec.key, f"{self._where}.key")
        if spec.headers:
            parts["extra_headers"] = {
                name: self._secrets.value(value, f"{self._where}.headers.{name}")
                for name, value in spec.headers.items()
            }
        return parts
