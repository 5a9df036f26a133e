"""JSON-RPC to agents, as MCP and A2A speak it: over guarded HTTP, or over the standard streams of a process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from ..llm.chat_format import NoCompletion, parsed
from ..net import Broken, HttpClient, Response, Retries, Target, event_data
from ..processes import Answered, Talk
from ..shapes import as_object

ONCE: Final = Retries(tries=1)
"""A request may have had an effect in the agent, so it is not repeated."""

NOTICE_S: Final = 10.0
GOODBYE_S: Final = 2.0


class RpcError(Exception):
    """The agent answered with an error. `code`: JSON-RPC's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"answered with error {code}: {text[:500]}")
        self.code = code


class Peer(Protocol):
    """The other end. May raise NetError, ProcessError and RpcError."""

    async def ask(self, method: str, params: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The result of a method."""
        ...

    async def tell(self, method: str) -> None:
        """Send a notice, which has no answer."""
        ...

    async def aclose(self) -> None:
        """End the conversation with it."""
        ...


class HttpPeer:
    """Behind a URL. `headers` are sent with every request, including the session an MCP server assigns."""

    def __init__(self, client: HttpClient, target: Target, headers: Mapping[str, str]) -> None:
        self._client = client
        self._target = target
        self.headers = {
            **headers,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        self._last = 0

    async def ask(self, method: str, params: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        self._last += 1
        id = self._last
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        answer, session = await self._posted(message, timeout_s, id)
        if session:
            self.headers["Mcp-Session-Id"] = session
        return _result(answer)

    async def tell(self, method: str) -> None:
        await self._posted({"jsonrpc": "2.0", "method": method}, NOTICE_S)

    async def aclose(self) -> None:
        if "Mcp-Session-Id" in self.headers:
            await self._client.repeated(
                self._target.origin,
                lambda: self._client.request("DELETE", self._target, None, self.headers),
                GOODBYE_S,
                ONCE,
            )

    async def _posted(
        self, message: Mapping[str, Any], timeout_s: float, id: int = 0
    ) -> tuple[dict[str, Any], str]:
        """The answer with this id (0: none is expected), and the session that came with it."""

        def both(response: Response) -> tuple[dict[str, Any], str]:
            answer = _answer(response, id) if id else {}
            return answer, response.headers.get("Mcp-Session-Id", "")

        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
        return await self._client.post(
            self._target, body, self.headers, timeout_s=timeout_s, retries=ONCE, read=both
        )


class StdioPeer:
    """A process at the other end."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk

    async def ask(self, method: str, params: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        try:
            answer = await self.talk.ask({"jsonrpc": "2.0", "method": method, "params": params}, timeout_s)
        except Answered as error:
            raise RpcError(error.code, error.text) from None
        return _result(answer)

    async def tell(self, method: str) -> None:
        await self.talk.tell({"jsonrpc": "2.0", "method": method})

    async def aclose(self) -> None:
        await self.talk.stop()


def _answer(response: Response, id: int) -> dict[str, Any]:
    """The message with this id, alone or in a stream of server-sent events; Broken if there is none."""
    try:
        texts = [response.body] if response.kind != "text/event-stream" else event_data(response.body)
        for text in texts:
            value = as_object(parsed(text))
            if value.get("id") == id and "method" not in value:
                return value
    except NoCompletion as error:
        raise Broken(f"its answer cannot be read: {error}") from None
    raise Broken("its answer cannot be read: it is not the answer to what was asked")


def _result(answer: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(answer.get("error"), dict):
        row = as_object(answer["error"])
        code = row.get("code")
        raise RpcError(code if isinstance(code, int) else 0, str(row.get("message", "")))
    return as_object(answer.get("result"))
