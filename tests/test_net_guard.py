"""What may be reached: hostile URLs, names and addresses are refused before anything is sent to them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from caseharden.engine.errors import CasehardenError, InvalidArgument, NotAllowed
from caseharden.engine.net import HttpClient, Network, Refused
from caseharden.engine.net.guard import Guard
from caseharden.tests.fake_endpoint import FakeEndpoint

PUBLIC = Network(loopback=False)
LOCAL = Network(loopback=True)
OPEN = Network(loopback=True, private=("10.0.0.0/8", "169.254.0.0/16", "fd00::/8", "100.64.0.0/10"))


class Names:
    """Names that stand for what a test says, one answer a question, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize("network", [PUBLIC, LOCAL, OPEN])
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254./",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://metadata.google.internal/",
        "http://METADATA.google.internal./computeMetadata/v1/",
    ],
)
def test_cloud_metadata_is_refused_whatever_the_operator_allows(url: str, network: Network) -> None:
    with pytest.raises(NotAllowed, match="metadata"):
        Guard(network).target(url, "agent.url")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:6379/",
        "http://127.1:6379",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[0:0:0:0:0:ffff:7f00:1]/",
        "http://127\u30020\u30020\u30021/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
    ],
)
def test_this_machine_is_refused_in_every_spelling_unless_it_is_allowed(url: str) -> None:
    with pytest.raises(NotAllowed, match="this machine"):
        Guard(PUBLIC).target(url, "agent.url")
    assert Guard(LOCAL).target(url, "agent.url").local


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.0.9/",
        "http://100.64.1.1/",
        "http://169.254.1.1/",
        "http://224.0.0.1/",
        "http://0.0.0.0/",
        "http://255.255.255.255/",
        "http://198.18.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[ff02::1]/",
        "http://[::]/",
        "http://[2002:7f00:1::]/",
        "http://[2002:0808:0808::]/",
        "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[64:ff9b:1::a00:1]/",
    ],
)
def test_addresses_that_are_not_public_are_refused(url: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        Guard(LOCAL).target(url, "agent.url")
    assert refused.value.where == "agent.url"
    assert "--allow-net" in refused.value.allowed


def test_a_private_network_that_the_operator_names_may_be_reached_and_no_other() -> None:
    guard = Guard(Network(private=("10.1.0.0/16",)))
    assert guard.target("http://10.1.2.3:8000/v1", "x").origin == "http://10.1.2.3:8000"
    with pytest.raises(NotAllowed):
        guard.target("http://10.2.0.1/", "x")


def test_public_addresses_and_names_may_be_reached() -> None:
    guard = Guard(PUBLIC)
    for url in (
        "https://api.openai.com/v1",
        "http://8.8.8.8/",
        "http://[2606:4700::1111]/",
        "http://[64:ff9b::808:808]/",
    ):
        assert not guard.target(url, "x").local
    assert guard.target("https://münchen.example/a?b=c#d", "x").url == "https://xn--mnchen-3ya.example/a?b=c"
    assert guard.refusal(ipaddress.ip_address("1.1.1.1")) == ""


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://x/",
        "unix:/run/docker.sock",
        "ftp://example.com/",
        "javascript:alert(1)",
        "//example.com/",
        "example.com",
        "",
        "http://",
        "http:///path",
        "http://[::1",
        "http://x:99999/",
        "http://x:port/",
        "http://exa mple.com/",
        "http://exa%6dple.com/",
        "http://[fe80::1%25eth0]/",
        "http://256.256.256.256/",
        "http://example.com/\r\nX-Evil: 1",
        "http://example.com\\@127.0.0.1/",
        "http://" + "a" * 3000,
    ],
)
def test_what_is_no_plain_http_url_is_a_wrong_argument(url: str) -> None:
    with pytest.raises(InvalidArgument) as wrong:
        Guard(OPEN).target(url, "agent.url")
    assert wrong.value.where == "agent.url"
    assert "http" in wrong.value.allowed


def test_a_password_in_a_url_is_refused_and_not_told() -> None:
    with pytest.raises(CasehardenError) as refused:
        Guard(OPEN).target("http://admin:hunter2secret@example.com/", "agent.url")
    assert "hunter2" not in str(refused.value)
    assert "env:NAME" in refused.value.allowed


@pytest.mark.anyio
async def test_a_name_with_one_public_and_one_private_address_is_refused() -> None:
    client = HttpClient(LOCAL, lookup=Names(["93.184.216.34", "10.0.0.5"]))
    target = client.guard.target("http://both.example/", "agent.url")
    with pytest.raises(Refused, match=r"10\.0\.0\.5"):
        await client.request("GET", target)
    with pytest.raises(Refused):
        await client.reach(target)
    await client.aclose()


@pytest.mark.anyio
async def test_a_name_is_looked_up_once_and_the_judged_address_is_the_one_that_is_used() -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    with FakeEndpoint() as endpoint:
        client = HttpClient(LOCAL, lookup=names)
        target = client.guard.target(f"http://turns.example:{endpoint.port}/v1", "agent.url")
        await client.request("POST", target, b"{}")
        await client.aclose()
        assert names.asked == ["turns.example"]
        assert endpoint.requests[0].headers["host"] == f"turns.example:{endpoint.port}"


@pytest.mark.anyio
async def test_a_name_that_stands_for_this_machine_is_refused_where_it_may_not_be_reached() -> None:
    with FakeEndpoint() as endpoint:
        client = HttpClient(PUBLIC, lookup=Names(["127.0.0.1"]))
        target = client.guard.target(f"http://rebind.example:{endpoint.port}/", "agent.url")
        with pytest.raises(Refused, match="this machine"):
            await client.request("POST", target, b"{}")
        await client.aclose()
        assert endpoint.connections == 0


@pytest.mark.anyio
async def test_behind_a_proxy_names_are_judged_all_the_same() -> None:
    with FakeEndpoint() as proxy:
        network = Network(loopback=False, proxy=proxy.url)
        client = HttpClient(network, lookup=Names(["10.0.0.5"]))
        with pytest.raises(NotAllowed):
            client.guard.target("http://10.0.0.5/", "agent.url")
        with pytest.raises(Refused):
            await client.request("POST", client.guard.target("http://inside.example/", "agent.url"), b"{}")
        await client.aclose()
        assert proxy.requests == []


@pytest.mark.anyio
async def test_a_proxy_that_the_operator_names_is_used_and_this_machine_is_reached_without_it() -> None:
    with FakeEndpoint() as proxy, FakeEndpoint() as beside:
        client = HttpClient(Network(proxy=proxy.url), lookup=Names(["93.184.216.34"]))
        await client.request("POST", client.guard.target("http://far.example/v1", "x"), b"{}")
        await client.request("POST", client.guard.target(beside.url, "x"), b"{}")
        await client.aclose()
        assert [seen.path for seen in proxy.requests] == ["http://far.example/v1"]
        assert len(beside.requests) == 1


@pytest.mark.anyio
async def test_proxies_of_the_process_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEndpoint() as proxy, FakeEndpoint() as beside:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        client = HttpClient(LOCAL)
        await client.request("POST", client.guard.target(beside.url, "x"), b"{}")
        await client.aclose()
        assert (len(proxy.requests), len(beside.requests)) == (0, 1)


@pytest.mark.parametrize("text", ["10.0.0.0/40", "intern", "10.0.0.0/8/8"])
def test_a_network_of_the_operator_that_is_none_is_told(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"network\.private"):
        Guard(Network(private=(text,)))
