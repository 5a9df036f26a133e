"""litellm behind a few typed functions. It is imported at the first call, which takes seconds."""

# litellm's own types are loose; nothing of them leaves this file except the names below.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import logging
import os
import ssl
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import anyio.to_thread

from ..net import BadStatus, NetError, TimedOut, Unreachable, retry_after_s
from .chat_format import read_completion
from .client import ModelReply

LOGGERS: Final = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")


class Litellm:
    """The library, silenced: it prints nothing, sends nothing of its own and does not retry."""

    def __init__(self) -> None:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import litellm  # heavy: 3.5 s

            library: Any = litellm
            library.ModelResponse()  # its types are built at first use, which warns
        library.suppress_debug_info = library.drop_params = True
        library.telemetry = library.set_verbose = False
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._litellm = library

    async def complete(self, asked: Mapping[str, Any], session: Any) -> ModelReply:
        """One call over the session, neither timed nor repeated; NetError if it fails at the provider."""
        try:
            answer: Any = await self._litellm.acompletion(
                **asked, num_retries=0, max_retries=0, shared_session=session
            )
        except Exception as error:
            raise self._translated(error) from error
        reply = read_completion(_plain(answer))
        cost = getattr(answer, "_hidden_params", {}).get("response_cost")
        known = float(cost) if isinstance(cost, int | float) else None
        return ModelReply(reply.text, reply.tool_calls, reply.usage, known)

    def missing_keys(self, model: str) -> list[str]:
        """The variables this model's provider needs that are not set; [] if unknown."""
        told: Any = self._litellm.validate_environment(model=model)
        return [] if told.get("keys_in_environment") else [str(key) for key in told.get("missing_keys", [])]

    def knows(self, model: str) -> bool:
        """Whether the part before the slash is a provider."""
        try:
            self._litellm.get_llm_provider(model)
        except Exception:
            return False
        return True

    def forget(self) -> None:
        """Forget the clients it keeps for our session."""
        self._litellm.in_memory_llm_clients_cache.flush_cache()

    def _translated(self, error: Exception) -> NetError:
        """Translate an error of litellm; a refused connection arrives as a server error."""
        chain = _causes(error)
        ours = next((one for one in chain if isinstance(one, NetError)), None)
        if ours is not None:
            return ours
        if any(isinstance(one, ConnectionRefusedError) for one in chain):
            return Unreachable("refused the connection", refused=True)
        if any(isinstance(one, ssl.SSLError) for one in chain):
            return Unreachable("its certificate was not accepted", again=False)
        if isinstance(error, self._litellm.Timeout):
            return TimedOut("no answer in time")
        status = getattr(error, "status_code", None)
        if isinstance(error, self._litellm.APIConnectionError) or not isinstance(status, int):
            return Unreachable(f"the call broke ({type(error).__name__})")
        after = next((after for one in chain if (after := _wait(one)) is not None), None)
        return BadStatus(status, f"answered {status}", body=str(error)[:2000], retry_after_s=after)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and its causes, at most eight deep."""
    chain = [error]
    while len(chain) < 8 and (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return chain


def _wait(error: BaseException) -> float | None:
    """The Retry-After of the answer an error carries."""
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    return retry_after_s(headers.get("retry-after"))


def _plain(answer: Any) -> dict[str, Any]:
    """An answer of litellm in the form of an endpoint's JSON."""
    message, usage = answer.choices[0].message, getattr(answer, "usage", None)
    calls = [
        {"id": call.id, "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in getattr(message, "tool_calls", None) or ()
    ]
    counted = {name: getattr(usage, name, 0) for name in ("prompt_tokens", "completion_tokens")}
    return {"choices": [{"message": {"content": message.content, "tool_calls": calls}}], "usage": counted}


@cache
def _loaded() -> Litellm:
    return Litellm()


def forget_clients() -> None:
    """Forget what litellm keeps of sessions that are closed now; does nothing if it was never used."""
    if _loaded.cache_info().currsize:
        _loaded().forget()


async def litellm_calls() -> Litellm:
    """The library, imported in a worker thread on first use."""
    return _loaded() if _loaded.cache_info().currsize else await anyio.to_thread.run_sync(_loaded)
