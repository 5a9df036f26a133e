"""The client: answers are capped and in time, errors say whether to repeat, callers of one endpoint share its pace."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.llm.chat_format import STREAM_END
from caseharden.engine.net import (
    BadStatus,
    Clock,
    HttpClient,
    NetError,
    Network,
    Response,
    Retries,
    Target,
    TimedOut,
    TooLarge,
    Unreachable,
)
from caseharden.tests.fake_endpoint import (
    Answer,
    FakeEndpoint,
    chat,
    cut,
    drip,
    endless,
    fault,
    gzip_bomb,
    hang,
    of_json,
    redirect,
    stream,
    too_many,
)

pytestmark = pytest.mark.anyio


def whole(answer: Response) -> Response:
    return answer


ONCE = Retries(tries=1)


async def post(client: HttpClient, target: Target) -> Response:
    return await client.post(target, b"{}", {}, read=whole)


class Time:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self.sleep, chance=lambda: 1.0)


@asynccontextmanager
async def asking(
    endpoint: FakeEndpoint, time: Time | None = None, network: Network | None = None
) -> AsyncGenerator[tuple[HttpClient, Target]]:
    client = HttpClient(network or Network(), clock=(time or Time()).clock)
    try:
        yield client, client.guard.target(endpoint.base_url, "url")
    finally:
        await client.aclose()


async def test_an_answer_comes_with_its_kind_and_whole_body() -> None:
    with FakeEndpoint(of_json({"a": 1})) as endpoint:
        async with asking(endpoint) as (client, target):
            answer = await client.post(target, b'{"q": 1}', {"Content-Type": "application/json"}, read=whole)
        assert (answer.status, answer.kind, answer.body) == (200, "application/json", b'{"a": 1}')
        assert endpoint.requests[0].json == {"q": 1}


async def test_connections_are_kept_and_used_again() -> None:
    with FakeEndpoint() as endpoint:
        async with asking(endpoint) as (client, target):
            for _ in range(5):
                await client.post(target, b"{}", {}, read=whole)
        assert endpoint.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    with FakeEndpoint() as other, FakeEndpoint(redirect(other.url, status)) as endpoint:
        async with asking(endpoint) as (client, target):
            with pytest.raises(BadStatus, match="not followed"):
                await client.post(target, b"{}", {"Authorization": "Bearer x"}, read=whole)
        assert (len(endpoint.requests), len(other.requests)) == (1, 0)


@pytest.mark.parametrize("answer", [drip(0.02), hang()])
async def test_an_endpoint_that_drips_or_hangs_is_stopped_at_the_deadline(answer: Answer) -> None:
    with FakeEndpoint(answer) as endpoint:
        async with asking(endpoint) as (client, target):
            with anyio.fail_after(10), pytest.raises(TimedOut, match=r"within 0\.2 s"):
                await client.post(target, b"{}", {}, read=whole, timeout_s=0.2, retries=ONCE)


@pytest.mark.parametrize("answer", [endless(), gzip_bomb(200), of_json("x" * 3_000_000)])
async def test_an_endless_or_packed_body_is_cut_at_the_cap(answer: Answer) -> None:
    with FakeEndpoint(answer) as endpoint:
        async with asking(endpoint) as (client, target):
            with anyio.fail_after(10), pytest.raises(TooLarge, match="2,000,000"):
                await client.post(target, b"{}", {}, read=whole)
        assert len(endpoint.requests) == 1


async def test_a_packed_answer_is_unpacked_and_a_broken_one_is_an_error() -> None:
    with FakeEndpoint(gzip_bomb(1)) as endpoint:
        endpoint.then(gzip_bomb(1), Answer(b"nonsense", headers={"Content-Encoding": "gzip"}))
        async with asking(endpoint) as (client, target):
            assert (await client.post(target, b"{}", {}, read=whole)).body == b" " * 2**20
            with pytest.raises(Unreachable, match="encoding"):
                await client.post(target, b"{}", {}, read=whole)


async def test_an_event_stream_is_over_at_its_own_end() -> None:
    told = stream("Hello.")
    with FakeEndpoint(
        Answer(told.body + b"\n" + b" " * 10_000_000, content_type="text/event-stream")
    ) as endpoint:
        async with asking(endpoint) as (client, target):
            answer = await client.post(target, b"{}", {}, read=whole, most_bytes=200_000, until=STREAM_END)
        assert b"data: [DONE]" in answer.body


async def test_faults_are_tried_again_with_growing_pauses_until_one_succeeds() -> None:
    time = Time()
    with FakeEndpoint() as endpoint:
        endpoint.then(fault(500), cut(), fault(502), cut(10))
        async with asking(endpoint, time) as (client, target):
            assert (await client.post(target, b"{}", {}, read=whole)).status == 200
        assert len(endpoint.requests) == 5
        assert time.slept == [0.5, 1.0, 2.0, 4.0]


async def test_faults_without_end_are_told_after_a_few_tries() -> None:
    time = Time()
    with FakeEndpoint(fault(500, "no disk")) as endpoint:
        async with asking(endpoint, time) as (client, target):
            with pytest.raises(BadStatus) as told:
                await client.post(target, b"{}", {}, read=whole)
        assert len(endpoint.requests) == 5
        assert (told.value.status, "no disk" in told.value.body) == (500, True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_will_not_change_is_not_tried_again(status: int) -> None:
    with FakeEndpoint(fault(status)) as endpoint:
        async with asking(endpoint) as (client, target):
            with pytest.raises(BadStatus):
                await client.post(target, b"{}", {}, read=whole)
        assert len(endpoint.requests) == 1


async def test_a_closed_port_is_told_as_a_refused_connection() -> None:
    with FakeEndpoint() as endpoint:
        pass
    async with asking(endpoint) as (client, target):
        with pytest.raises(Unreachable, match="refused the connection") as told:
            await client.post(target, b"{}", {}, read=whole)
        assert told.value.refused
        with pytest.raises(Unreachable, match="refused the connection"):
            await client.reach(target)


async def test_retry_after_is_kept_to_by_every_caller_of_the_endpoint() -> None:
    time = Time()
    with FakeEndpoint() as endpoint:
        endpoint.then(too_many(7))
        async with asking(endpoint, time) as (client, target):
            await client.post(target, b"{}", {}, read=whole, retries=Retries(first_s=0.0))
            assert time.now >= 1007
            endpoint.then(too_many(30))
            with pytest.raises(BadStatus):
                await client.post(target, b"{}", {}, read=whole, retries=ONCE)
            await client.post(target, b"{}", {}, read=whole, retries=ONCE)
            assert time.now >= 1037
        assert [len(endpoint.requests), len(endpoint.probes)] == [4, 0]


async def test_a_wait_that_is_too_long_is_an_error_at_once_for_every_caller() -> None:
    time = Time()
    with FakeEndpoint(too_many(3600)) as endpoint:
        async with asking(endpoint, time) as (client, target):
            for _ in range(3):
                with pytest.raises(BadStatus) as told:
                    await client.post(target, b"{}", {}, read=whole)
                assert told.value.retry_after_s == 3600
        assert len(endpoint.requests) == 1


async def test_retry_after_may_be_a_date() -> None:
    with FakeEndpoint(too_many("Wed, 21 Oct 2015 07:28:00 GMT")) as endpoint:
        async with asking(endpoint) as (client, target):
            with pytest.raises(BadStatus) as told:
                await client.post(target, b"{}", {}, read=whole, retries=ONCE)
        assert told.value.retry_after_s == 0


async def test_a_caller_that_is_cancelled_while_it_waits_gives_its_place_back() -> None:
    with FakeEndpoint(hang()) as endpoint:
        async with asking(endpoint, network=Network(at_once=1)) as (client, target):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(post, client, target)
                while not endpoint.requests:
                    await anyio.wait_all_tasks_blocked()
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            endpoint.always(chat())
            with anyio.fail_after(10):
                await client.post(target, b"{}", {}, read=whole)


async def test_no_more_calls_are_out_than_the_operator_allows() -> None:
    with FakeEndpoint(chat().late(0.01)) as endpoint:
        async with (
            asking(endpoint, network=Network(at_once=3)) as (client, target),
            anyio.create_task_group() as tasks,
        ):
            for _ in range(20):
                tasks.start_soon(post, client, target)
        assert endpoint.most_at_once == 3


async def test_the_limit_of_an_endpoint_is_halved_once_for_calls_that_were_out_together() -> None:
    time = Time()
    client = HttpClient(Network(at_once=64), clock=time.clock)
    pace = client.pace("http://x")
    tickets = [await pace.enter(1) for _ in range(64)]
    assert pace.limit == 64
    for ticket in tickets:
        pace.leave(ticket, BadStatus(429, "slow down"))
    assert pace.limit == 32
    pace.leave(await pace.enter(1), BadStatus(429, "slow down"))
    assert pace.limit == 16


async def test_the_limit_of_an_endpoint_grows_while_callers_wait_and_all_is_well() -> None:
    client = HttpClient(Network(at_once=1000), clock=Time().clock)
    pace = client.pace("http://x")
    before = pace.limit
    done: list[int] = []

    async def call(k: int) -> None:
        ticket = await pace.enter(1)
        await anyio.lowlevel.checkpoint()
        pace.leave(ticket, None)
        done.append(k)

    async with anyio.create_task_group() as tasks:
        for k in range(before * 3):
            tasks.start_soon(call, k)
    assert before < pace.limit <= 1000
    assert done == sorted(done)


async def test_an_error_that_is_none_of_the_network_is_raised_and_gives_the_place_back() -> None:
    client = HttpClient(Network(at_once=1), clock=Time().clock)

    async def broken() -> None:
        raise KeyError("ours")

    for _ in range(2):
        with anyio.fail_after(5), pytest.raises(KeyError):
            await client.repeated("k", broken, 1, Retries())


@pytest.mark.parametrize(
    ("network", "where"),
    [
        (Network(proxy="socks5://x:1"), "network.proxy"),
        (Network(proxy="x:1"), "network.proxy"),
        (Network(ca_file="/no/such/file.pem"), "network.ca_file"),
        (Network(ca_file=__file__), "network.ca_file"),
    ],
)
async def test_a_proxy_or_a_ca_file_that_is_none_is_told_at_the_start(network: Network, where: str) -> None:
    with pytest.raises(InvalidArgument) as wrong:
        HttpClient(network)
    assert wrong.value.where == where


async def test_errors_say_whether_to_try_again() -> None:
    again: list[NetError] = [TimedOut("x"), Unreachable("x"), BadStatus(429, "x"), BadStatus(503, "x")]
    never: list[NetError] = [TooLarge("x"), BadStatus(401, "x"), BadStatus(302, "x")]
    assert [e.again for e in (*again, *never)] == [True] * 4 + [False] * 3
