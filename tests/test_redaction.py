"""A secret in a text is in nothing that is kept, told, logged or handed on, and whoever wrote it is told."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from mcp import Client
from mcp.types import TextResourceContents

from caseharden.engine.net import HIDDEN, Redactor
from caseharden.mcp_server.app import build_server
from caseharden.mcp_server.logs import Discreet
from caseharden.resources.workbench import Workbench
from caseharden.tests.fake_endpoint import FakeEndpoint, chat
from caseharden.tests.server_desk import TINY, Desk, desk

pytestmark = pytest.mark.anyio
KEY = "sk-pasted-by-mistake-0123456789abcdef"
KEYS = (
    KEY,
    "ghp_" + "a1" * 18,
    "AKIAABCDEFGHIJKLMNOP",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
)


def kept(home: Path) -> list[str]:
    """The files of a data folder that hold the key."""
    files = (path for path in home.rglob("*") if path.is_file())
    return [str(path.relative_to(home)) for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.requirement("CH-22")
@pytest.mark.parametrize("format", ["json", "csv", "junit"])
async def test_a_key_pasted_into_texts_is_nowhere_and_every_reply_says_so(
    tmp_path: Path, format: str
) -> None:
    home = tmp_path / "data"
    async with desk(home) as at:
        made = await at.ok(
            "create_environment",
            id="support",
            world_data={**TINY, "policy": f"Use {KEY}."},
            instructions=f"Close the ticket with {KEY}.",
            settings={"user_guidelines": f"Never say {KEY}."},
        )
        (told,) = [one for one in made["warnings"] if HIDDEN in one]
        for place in ("instructions", "settings.user_guidelines", "world_data.policy"):
            assert place in told
        people = await at.ok(
            "create_personas", environment="support", personas=[{"id": "ann", "profile": f"Knows {KEY}."}]
        )
        assert "personas[0].profile" in str(people["warnings"])
        scenario = {
            "id": "close",
            "goal": f"Close T1, the key is {KEY}.",
            "success": [{"id": "said", "said": KEY}],
            "script": [{"user": f"Here is {KEY}, close T1."}, {"proceed": 1}],
        }
        cases = await at.ok("create_scenarios", environment="support", scenarios=[scenario])
        assert "scenarios[0].goal" in str(cases["warnings"])
        run = await at.ok("run_simulations", environment="support", wait_s=45)
        shown = await at.ok("get_item", kind="conversation", id=f"{run['run']}/close-ann/1", view="full")
        assert f"Here is {HIDDEN}, close T1." in json.dumps(shown)
        written = await at.ok("export_run", source=run["run"], format=format, inline=True)
        address = f"caseharden://export/{written['file'].rpartition('/')[2]}"
        (read,) = (await at.client.read_resource(address)).contents
        assert isinstance(read, TextResourceContents)
        replies = json.dumps([made, people, cases, run, shown, written]) + read.text
    assert KEY not in replies
    assert kept(home) == []


async def test_a_key_in_an_error_is_not_told(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        error = await at.error("get_item", kind="run", id=KEY)
        assert error["what"].startswith(f"No run `{HIDDEN}`")
        changed = {
            "headers": {"X-Team": f"see {KEY}"},
            "kind": "chat_completions",
            "url": "http://127.0.0.1:9/",
        }
        error = await at.error("create_environment", id="support", agent=changed)
        assert error["what"] == "agent.headers.X-Team holds a literal secret."


async def test_a_key_in_a_text_that_is_changed_or_submitted_is_hidden_too(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as at:
        await at.ok("create_environment", id="support", world="shop", instructions="Help.")
        args: dict[str, Any] = {"kind": "environment", "id": "support"}
        changed = await at.ok("update_item", **args, changes={"instructions": f"Help with {KEY}."})
        assert "changes.instructions" in str(changed["warnings"])
        shown = await at.ok("get_item", kind="instructions", id="support@2", view="text")
        assert shown["item"]["text"] == f"Help with {HIDDEN}."
    assert kept(tmp_path / "data") == []


async def test_a_key_in_a_folder_of_cases_is_told_and_the_folder_stays_the_same_to_us(tmp_path: Path) -> None:
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "caseharden.yaml").write_text("environment: {id: support}\nworld: shop\n")
    (folder / "instructions.md").write_text(f"Close it with {KEY}.\n")
    async with desk(tmp_path / "data", roots=(tmp_path,)) as at:
        for number in (1, 2):
            taken = await at.ok("import_environment", path="cases", wait_s=45)
            assert "instructions" in str([one for one in taken["warnings"] if HIDDEN in one]), number
            assert taken["instructions_version"] == 1
    assert kept(tmp_path / "data") == []


async def test_a_key_in_a_file_of_a_run_is_hidden_when_it_is_imported(tmp_path: Path) -> None:
    async with desk(tmp_path / "one") as at:
        await at.ok("create_environment", id="support", world_data=TINY, instructions="Close CANARY.")
        await at.ok(
            "create_scenarios", environment="support", scenarios=[{"id": "close", "goal": "Close T1."}]
        )
        run = await at.ok("run_simulations", environment="support", wait_s=45)
        await at.ok("export_run", source=run["run"], format="json")
    (tmp_path / "run.json").write_text(
        (tmp_path / "one" / "exports" / "run-1.json").read_text().replace("CANARY", KEY)
    )
    async with desk(tmp_path / "two", roots=(tmp_path,)) as at:
        for _ in range(2):
            taken = await at.ok("import_environment", path="run.json", wait_s=45)
            assert HIDDEN in str(taken["warnings"])
        assert (await at.ok("list_items", kind="run"))["total"] == 1
    assert kept(tmp_path / "two") == []


async def test_what_a_reference_stood_for_is_in_no_export_of_texts_that_were_written_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "plain-words-that-no-pattern-knows"
    home = tmp_path / "data"
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "mine").write_text(value)
    with FakeEndpoint(chat(f"It is {value}.")) as endpoint:
        async with Client(build_server(Workbench(home))) as client:
            at = Desk(client)
            spec = {"kind": "chat_completions", "url": endpoint.url, "headers": {"X-Key": "file:mine"}}
            await at.ok("create_environment", id="support", world_data=TINY, instructions=f"Say {value}.")
            await at.ok("update_item", kind="environment", id="support", changes={"agent": spec})
            await at.ok(
                "create_scenarios", environment="support", scenarios=[{"id": "x", "goal": "Close T1."}]
            )
            run = await at.ok("run_simulations", environment="support", wait_s=45)
            shown = await at.ok("get_item", kind="conversation", id=f"{run['run']}/x/1", view="turns")
            for format in ("json", "csv", "junit"):
                await at.ok("export_run", source=run["run"], format=format)
        assert endpoint.requests[0].headers["x-key"] == value
    assert f"It is {HIDDEN}." in json.dumps(shown)
    for file in (home / "exports").iterdir():
        assert value not in file.read_text()


def test_what_is_logged_holds_no_secret_in_message_or_traceback() -> None:
    redactor = Redactor()
    redactor.learn(["known-value-0001"])
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Discreet(redactor))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning("with %s and %s", KEY, "known-value-0001")
    try:
        raise ValueError(f"broke at {KEY}")
    except ValueError:
        logger.exception("it broke")
    told = stream.getvalue()
    assert f"with {HIDDEN} and {HIDDEN}" in told
    assert "Traceback" in told and f"broke at {HIDDEN}" in told
    assert KEY not in told


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=20) | st.sampled_from([f"a {key} b" for key in KEYS]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_hiding_leaves_no_key_changes_nothing_else_and_nothing_twice(value: Any) -> None:
    redactor = Redactor()
    places: list[str] = []
    hidden = redactor.hide_all(value, places)
    told = json.dumps(hidden)
    assert not any(json.dumps(key)[1:-1] in told for key in KEYS)
    assert (hidden is value) is (not places)
    assert redactor.hide_all(hidden) is hidden


def test_words_and_paths_in_variables_are_no_secrets() -> None:
    redactor = Redactor()
    redactor.learn_variables(["postgres", "password", "/srv/keys/id_rsa", "correct-horse-1", "short"])
    text = "postgres password /srv/keys/id_rsa short"
    assert redactor.hide(f"{text} correct-horse-1") == f"{text} {HIDDEN}"


@pytest.mark.parametrize(
    "value",
    [
        "/Kx9aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789=",
        "/Kx9/BcDeFgHiJkLmNo/qRsTuVwXyZ0123456789=",
        "./x9aBcDeFgHiJkLmNoPqRs",
        ".S3cret!pass",
        "~tilde-and-more",
        "/one-slash!only",
    ],
)
def test_a_secret_that_begins_like_a_path_is_hidden(value: str) -> None:
    redactor = Redactor()
    redactor.learn_variables([value])
    assert redactor.hide(f"It is {value}.") == f"It is {HIDDEN}."


def test_a_path_of_a_file_that_is_there_is_no_secret_however_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "Key-2024-aBcDeFgHiJkL.pem"
    file.write_text("")
    paths = [str(file), "/tmp/ssh-x/agent.12", "~/.config/key.json", "./keys", "../a/b/c.pem", "/secrets"]
    redactor = Redactor()
    redactor.learn_variables(paths)
    text = " ".join(paths)
    assert redactor.hide(text) == text
