"""Settings: flag, variable, file, default, each with its place; files of keys."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client import Client

from caseharden.engine.errors import InvalidArgument
from caseharden.mcp_server.env_file import find_env_file, read_env_file
from caseharden.mcp_server.setting_values import NAMES, flag, variable
from caseharden.mcp_server.settings import (
    Settings,
    WrongSetting,
    add_flags,
    read_settings,
    unknown_variables,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def settings(home: Path, *words: str, file: str = "", **environ: str) -> Settings:
    """The settings of a command with these words, variables and file."""
    if file:
        (home / "settings.toml").write_text(file, encoding="utf-8")
    parser = argparse.ArgumentParser()
    add_flags(parser, "home", "roots", "models", "network", "code", "env_file", "log_level")
    return read_settings(parser.parse_args(["--home", str(home), *words]), environ=environ)


def refused(home: Path, *words: str, file: str = "", **environ: str) -> WrongSetting:
    with pytest.raises(WrongSetting) as caught:
        settings(home, *words, file=file, **environ)
    return caught.value


def test_flag_goes_before_variable_before_file_before_default(home: Path) -> None:
    file = 'model_agent = "offline:slip=0.1"\nmodel_user = "offline:slip=0.2"\nmodel_judge = "offline:slip=0.3"\n'
    got = settings(
        home,
        "--model-agent",
        "relay",
        file=file,
        CASEHARDEN_MODEL_AGENT="offline",
        CASEHARDEN_MODEL_USER="offline",
    )
    assert got.models.model_dump() == {
        "agent": "relay",
        "user": "offline",
        "judge": "offline:slip=0.3",
        "writer": "",
    }
    assert [got.sources[f"model_{role}"] for role in ("agent", "user", "judge", "writer")] == [
        "--model-agent",
        "CASEHARDEN_MODEL_USER",
        "settings.toml",
        "default",
    ]
    assert got.flagged_models == {"agent": "relay"}


def test_every_setting_has_one_name_in_three_forms() -> None:
    assert {flag(name) for name in NAMES} >= {"--root", "--model-judge", "--allow-net", "--ca-file"}
    assert {variable(name) for name in NAMES} >= {"CASEHARDEN_ROOTS", "CASEHARDEN_MODEL_JUDGE"}


def test_data_folder_comes_from_flag_or_variable_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert settings(home).sources["home"] == "--home"
    monkeypatch.setenv("CASEHARDEN_HOME", str(tmp_path / "other"))
    got = read_settings(argparse.Namespace())
    assert (got.home, got.sources["home"]) == (tmp_path / "other", "CASEHARDEN_HOME")
    assert "Unknown field `home`" in refused(home, file='home = "x"').what


def test_unset_variables_and_a_missing_file_are_the_defaults(home: Path) -> None:
    got = settings(home, CASEHARDEN_MODEL_USER="", CASEHARDEN_ROOTS="")
    assert set(got.sources.values()) == {"--home", "default"}
    assert got.network().loopback and not got.network(http=True).loopback
    assert got.models.model_dump() == {"agent": "", "user": "", "judge": "", "writer": ""}


def test_network_and_roots_are_read_from_the_file_and_its_folder(home: Path, tmp_path: Path) -> None:
    (home / "cases").mkdir()
    (home / "ca.pem").write_text("")
    got = settings(
        home,
        file='roots = ["cases"]\nallow_loopback = false\nallow_net = ["10.1.0.0/16"]\n'
        'proxy = "http://proxy:3128"\nca_file = "ca.pem"\n',
    )
    network = got.network()
    assert got.roots == [home / "cases"]
    assert (network.loopback, network.private) == (False, ("10.1.0.0/16",))
    assert (network.proxy, network.ca_file) == ("http://proxy:3128", str(home / "ca.pem"))
    (tmp_path / "a").mkdir()
    lists = settings(
        home,
        CASEHARDEN_ROOTS=f"{tmp_path / 'a'}{os.pathsep}{home}",
        CASEHARDEN_ALLOW_NET="10.0.0.0/8, fd00::/8",
    )
    assert lists.roots == [tmp_path / "a", home]
    assert lists.network().private == ("10.0.0.0/8", "fd00::/8")


def test_folders_of_code_their_variables_and_interpreter_are_settings_like_all_others(
    home: Path, tmp_path: Path
) -> None:
    (home / "agents").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "desk.py").write_text("")
    assert settings(home).code().folders == ()
    file = f'allow_code = ["agents"]\ncode_env = ["SHOP_TOKEN"]\ncode_python = "{sys.executable}"\n'
    got = settings(home, file=file).code()
    assert (got.folders, got.python) == ((home / "agents",), sys.executable)
    flags = settings(
        home, "--allow-code", str(home / "agents"), "--allow-code", str(tmp_path / "more")
    ).code()
    assert flags.folders == (home / "agents", tmp_path / "more")
    assert (
        settings(home, CASEHARDEN_ALLOW_CODE=str(tmp_path)).code().file("desk.py", "f")
        == tmp_path / "desk.py"
    )
    assert refused(home, "--allow-code", "nowhere").where == "--allow-code"
    assert refused(home, CASEHARDEN_CODE_PYTHON="no-such-python").where == "CASEHARDEN_CODE_PYTHON"
    assert refused(home, "--code-env", "CASEHARDEN_TOKEN").where.startswith("--code-env")


@pytest.mark.parametrize(
    ("file", "place", "what"),
    [
        (
            '\nmodel_usr = "offline"\n',
            "line 2, model_usr",
            "Unknown field `model_usr`. Did you mean `model_user`?",
        ),
        ("model_user = 5\n", "line 1, model_user", "This must be a text"),
        ('model_user = "offline\n', "line 1, column 22", "This is not TOML"),
        ("a = 1\na = 2\n", "line 2", "This is not TOML"),
        ('[network]\nproxy = "x"\n', "line 1, network", "Unknown field `network`."),
        ('proxy = "ftp://x"\n', "line 1, proxy", "The proxy is no URL"),
        ('allow_net = ["10.1.2.300/8"]\n', "line 1, allow_net", "`10.1.2.300/8` is no network"),
        ('roots = ["nowhere"]\n', "line 1, roots", "is not a folder"),
        ('ca_file = "nowhere.pem"\n', "line 1, ca_file", "is not a file"),
        ('model_user = "offlin"\n', "line 1, model_user", "`offlin` names no model. Did you mean `offline`?"),
        ('model_user = {modl = "x"}\n', "line 1, model_user.modl", "Unknown field `modl`"),
        (
            'model_user = {model = "x", base_url = "http://127.0.0.1:1/v1", key = "sk-1"}\n',
            "line 1, model_user.key",
            "holds a literal secret",
        ),
        ('log_level = "LOUD"\n', "line 1, log_level", "none of the allowed values"),
        ('openai_api_key = "sk-1"\n', "line 1, openai_api_key", "keys are no settings"),
    ],
)
def test_mistake_in_the_file_is_told_with_its_line_and_what_would_do(
    home: Path, file: str, place: str, what: str
) -> None:
    error = refused(home, file=file)
    assert error.where.startswith(f"{home / 'settings.toml'}, {place}")
    assert what in error.what
    assert error.allowed or what.startswith("This must be")
    assert "sk-1" not in str(error)


def test_concurrency_and_lent_variables_are_settings_as_all_others(home: Path) -> None:
    file = 'concurrency = 8\nallow_env = ["A_KEY"]\n'
    got = settings(home, file=file)
    assert (got.values.concurrency, got.values.allow_env) == (8, ["A_KEY"])
    got = settings(
        home, "--allow-env", "B_KEY,C_KEY", "--allow-env", "D_KEY", file=file, CASEHARDEN_CONCURRENCY="64"
    )
    assert (got.values.concurrency, got.values.allow_env) == (64, ["B_KEY", "C_KEY", "D_KEY"])
    assert settings(home).values.concurrency == 8
    assert refused(home, CASEHARDEN_CONCURRENCY="0").where == "CASEHARDEN_CONCURRENCY"
    assert refused(home, CASEHARDEN_ALLOW_ENV="CASEHARDEN_KEY").where == "CASEHARDEN_ALLOW_ENV"


def test_mistake_in_a_flag_or_variable_names_it(home: Path) -> None:
    assert refused(home, "--root", "nowhere").where == "--root"
    assert refused(home, CASEHARDEN_PROXY="proxy:3128").where == "CASEHARDEN_PROXY"
    assert refused(home, CASEHARDEN_ALLOW_LOOPBACK="maybe").where == "CASEHARDEN_ALLOW_LOOPBACK"
    assert refused(home, "--model-user", '{"model": ').where.startswith("--model-user")


def test_file_that_is_no_text_is_told_and_not_raised_as_a_fault(home: Path) -> None:
    (home / "settings.toml").write_bytes(b"model_user = '\xff'\n")
    assert "Line 1 is not UTF-8" in refused(home).what
    (home / "settings.toml").unlink()
    (home / "settings.toml").mkdir()
    assert "is not a file" in refused(home).what


def test_who_asks_for_mistakes_gets_all_of_them_and_the_rest_of_the_settings(home: Path) -> None:
    (home / "settings.toml").write_text('model_usr = "x"\nproxy = "x"\nmodel_judge = "offline"\n')
    mistakes: list[WrongSetting] = []
    args = argparse.Namespace(home=str(home), roots=["nowhere"])
    got = read_settings(args, environ={"CASEHARDEN_LOG_LEVEL": "info"}, mistakes=mistakes)
    assert [m.where.rpartition(" ")[2] for m in mistakes] == ["--root", "model_usr", "proxy"]
    assert got.sources["model_judge"] == "settings.toml"
    assert (got.values.log_level, got.sources["proxy"]) == ("INFO", "default")


async def test_server_of_a_client_uses_the_settings_of_its_data_folder(home: Path) -> None:
    (home / "settings.toml").write_text("model_user = 'offline:slip=0.5'\nmodel_judge = 'offline:slip=0.4'\n")
    words = ["-m", "caseharden", "serve", "--home", str(home), "--model-judge", "offline:slip=0.1"]
    async with Client(StdioServerParameters(command=sys.executable, args=words)) as client:
        arguments = {"id": "shop", "world": "shop", "instructions": "Be helpful."}
        made: dict[str, Any] = (
            await client.call_tool("create_environment", arguments)
        ).structured_content or {}
    assert {role: name.partition("slip ")[2] for role, name in made["models"].items()} == {
        "agent": "",
        "user": "0.5)",
        "judge": "0.1)",
        "writer": "",
    }


def test_variable_that_looks_like_ours_and_is_none_names_the_near_one() -> None:
    told = unknown_variables({"CASEHARDEN_MODEL_USR": "x", "CASEHARDEN_HOME": "x", "CASEHARDEN_DEPTH": "1"})
    assert told == ["`CASEHARDEN_MODEL_USR` is no setting. Did you mean `CASEHARDEN_MODEL_USER`?"]


def test_file_of_keys_lends_keys_and_never_takes_the_place_of_a_variable(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# ours\nexport OPENAI_API_KEY='sk-1 #2'\nAWS_ACCESS_KEY_ID=a\nHF_TOKEN=\"b\"\nEMPTY_KEY=\n"
        "PLAIN_KEY=${OPENAI_API_KEY}\n",
        encoding="utf-8",
    )
    environ = {"HF_TOKEN": "mine"}
    read_env_file(file).lend(environ)
    assert environ == {
        "HF_TOKEN": "mine",
        "OPENAI_API_KEY": "sk-1 #2",
        "AWS_ACCESS_KEY_ID": "a",
        "PLAIN_KEY": "${OPENAI_API_KEY}",
    }


def test_file_of_keys_that_came_with_a_repository_cannot_steer_the_process(tmp_path: Path) -> None:
    hostile = [
        "OPENAI_API_BASE",
        "HTTPS_PROXY",
        "LD_PRELOAD",
        "PYTHONPATH",
        "SSL_CERT_FILE",
        "CASEHARDEN_HOME",
    ]
    hostile += ["CASEHARDEN_API_KEY", "PATH"]
    (tmp_path / ".env").write_text("".join(f"{name}=x\n" for name in hostile))
    found = find_env_file("", [tmp_path / "nowhere", tmp_path])
    assert found is not None
    assert (found.keys, found.left_out) == ({}, tuple(hostile))


@pytest.mark.parametrize(
    ("text", "line"), [("A_KEY=1\nA KEY=2\n", 2), ("A_KEY\n", 1), ("\n\nA_KEY='1\n", 3), ("=x\n", 1)]
)
def test_line_that_is_no_assignment_is_named(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(InvalidArgument, match="NAME=value") as caught:
        read_env_file(tmp_path / "keys")
    assert f"keys, line {line}" in str(caught.value)


def test_no_file_of_keys_is_no_keys(tmp_path: Path) -> None:
    assert find_env_file("", [tmp_path]) is None
