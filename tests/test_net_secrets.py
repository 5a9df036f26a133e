"""Secrets are references; what they stand for is in no text that we keep or tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caseharden.engine.errors import InvalidArgument, MissingKey, NotFound
from caseharden.engine.net import Secrets, check_headers, check_key

KEY = "sk-abcdefghijklmnopqrstuvwx0123"


def read(path: str, where: str) -> str:
    if path != "keys/mine.txt":
        raise NotFound(f"`{path}` does not exist.", where=where)
    return "from-a-file\n"


def secrets(**environ: str) -> Secrets:
    return Secrets(read, environ)


def test_references_stand_for_variables_and_files() -> None:
    known = secrets(MY_KEY=f" {KEY}\n")
    assert known.value("env:MY_KEY", "x") == KEY
    assert known.value("Bearer env:MY_KEY", "x") == f"Bearer {KEY}"
    assert known.value("Bearer file:keys/mine.txt", "x") == "Bearer from-a-file"
    assert known.value("plain text", "x") == "plain text"


@pytest.mark.parametrize("reference", ["env:NO_KEY", "env:EMPTY_KEY", "Bearer env:NO_KEY"])
def test_a_variable_that_is_not_set_is_a_missing_key_that_names_it(reference: str) -> None:
    with pytest.raises(MissingKey, match="is not set in the server's environment") as missing:
        secrets(EMPTY_KEY=" ").value(reference, "agent.headers.Authorization")
    assert reference.rpartition(":")[2] in str(missing.value)
    assert missing.value.where == "agent.headers.Authorization"


def test_a_file_that_may_not_be_read_is_told_as_such() -> None:
    with pytest.raises(NotFound):
        secrets().value("file:../etc/shadow", "x")


def test_a_secret_with_line_ends_cannot_split_a_header() -> None:
    with pytest.raises(InvalidArgument, match="line ends") as wrong:
        secrets(MY_KEY="abcdefgh\r\nX-Evil: 1").value("env:MY_KEY", "x")
    assert "Evil" not in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer abcdef"),
        ("authorization", "hunter2"),
        ("X-Api-Key", "abcdef"),
        ("api-key", "abcdef"),
        ("Cookie", "a=b"),
        ("X-Auth", "abcdef"),
        ("X-Team", f"see {KEY}"),
        ("X-Team", "ghp_" + "a" * 36),
    ],
)
def test_a_literal_secret_in_a_header_is_refused_and_not_told(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_headers({name: value}, "agent.headers")
    assert refused.value.what == f"agent.headers.{name} holds a literal secret."
    assert refused.value.allowed == "a reference, env:NAME or file:PATH"
    assert value not in str(refused.value)


def test_references_and_plain_headers_are_taken() -> None:
    check_headers({"Authorization": "Bearer env:MY_KEY", "X-Api-Key": "file:keys/a", "X-Team": "search"}, "h")
    check_key("env:MY_KEY", "models.agent.key")
    with pytest.raises(InvalidArgument, match=r"models\.agent\.key holds a literal secret"):
        check_key(KEY, "models.agent.key")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nX-B: c"),
        ("X-A\r\nX-B", "c"),
        ("X A", "c"),
        ("", "c"),
        ("Host", "evil"),
        ("Content-Length", "0"),
        ("X-A", "a\x00b"),
        ("X-A", "é"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument):
        check_headers({name: value}, "agent.headers")


def test_known_secrets_and_what_looks_like_a_key_are_hidden_in_texts() -> None:
    known = secrets(OPENAI_API_KEY="a-long-value-of-mine", HOME="/home-of-nobody")
    told = known.hide(f"a-long-value-of-mine and {KEY} and Bearer {'x' * 30} in /home-of-nobody \ud800")
    assert told.startswith("[secret] and [secret] and [secret] in /home-of-nobody")
    known.value("file:keys/mine.txt", "x")
    assert known.hide("it is from-a-file") == "it is [secret]"
    assert (
        known.hide("sketchy sk-8 talk of bearers is no secret") == "sketchy sk-8 talk of bearers is no secret"
    )


def test_nothing_heavy_is_imported_before_something_is_asked(checkout: Path) -> None:
    code = (
        "import sys, caseharden.engine.workbench, caseharden.mcp_server.app\n"
        "print(sorted(m for m in ('aiohttp', 'litellm', 'openai', 'httpx') if m in sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert run.stdout.strip() == "[]", run.stderr
