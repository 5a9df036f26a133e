"""Files in and out: allowed roots, hostile JSON and YAML, a folder of cases."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from caseharden.engine.errors import CasehardenError, InvalidArgument, NotAllowed, NotFound, StorageError
from caseharden.engine.exchange import (
    Roots,
    parse,
    parse_json,
    parse_jsonl,
    parse_yaml,
    read_folder,
    write_instructions,
)

SCENARIOS = """\
- id: refund-late
  goal: Get the refund
  knowledge: [{fact: zip, value: 01234}]
- id: cancel
  goal: Cancel it
  success:
    - {state: "db.orders['#W1'].status", eq: cancelled}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "cases"
    place.mkdir()
    (place / "caseharden.yaml").write_text(
        "environment:\n  id: support\n  settings: {trials: 2, thresholds: {pass_rate: 0.9}}\n"
        "world: shop\npersonas:\n  - {id: dana, style: terse}\n  - more.json\nscenarios: scenarios/*.yaml\n"
    )
    (place / "instructions.md").write_text("Be polite.\n\nLook up an order first.\n")
    (place / "more.json").write_text('{"personas": [{"id": "omar"}]}')
    (place / "scenarios").mkdir()
    (place / "scenarios" / "refunds.yaml").write_text(SCENARIOS)
    return place


@pytest.mark.requirement("CH-19")
def test_folder_is_read_with_the_place_of_every_record(folder: Path) -> None:
    cases = read_folder(folder, Roots([folder]))
    assert (cases.id, cases.world, cases.world_data, cases.pairing) == ("support", "shop", None, "cover")
    assert cases.instructions == "Be polite.\n\nLook up an order first."
    assert cases.settings == {
        "trials": 2,
        "thresholds": {"pass_rate": 0.9},
        "instructions_file": str(folder / "instructions.md"),
    }
    assert [(p.value["id"], p.at) for p in cases.personas] == [
        ("dana", "caseharden.yaml, personas[0]"),
        ("omar", "more.json, personas[0]"),
    ]
    assert (
        cases.place("scenarios[1].success[0].stat") == "scenarios/refunds.yaml, scenarios[1].success[0].stat"
    )
    assert cases.scenarios[0].value["knowledge"][0]["value"] == "01234"
    assert cases.files == ("caseharden.yaml", "instructions.md", "more.json", "scenarios/refunds.yaml")


def test_records_are_found_by_name_where_the_file_does_not_say(folder: Path) -> None:
    (folder / "caseharden.yaml").write_text("environment: {id: support}\nworld: world.json\n")
    (folder / "world.json").write_text('{"format": "world/1", "name": "tiny"}')
    (folder / "personas.jsonl").write_text('{"id": "a"}\n\n{"id": "b"}\n')
    cases = read_folder(folder, Roots([folder]))
    assert [p.value["id"] for p in cases.personas] == ["a", "b"]
    assert [s.value["id"] for s in cases.scenarios] == ["refund-late", "cancel"]
    assert cases.world_data == {"format": "world/1", "name": "tiny"}
    assert cases.place("world.tools[0].steps") == "world.json, tools[0].steps"


@pytest.mark.parametrize(
    ("config", "where", "what"),
    [
        (
            "environment: {id: support}\nscenario: x.yaml\n",
            "caseharden.yaml, scenario",
            "Did you mean `scenarios`",
        ),
        ("environment: {id: Support Desk}\n", "caseharden.yaml, environment.id", "support-desk"),
        (
            "environment: {id: s, settings: {trials: 0}}\n",
            "caseharden.yaml, environment.settings.trials",
            "greater",
        ),
        ("world: shop\n", "caseharden.yaml, environment", "missing"),
        (
            "environment: {id: s}\nscenarios: nothing/*.yaml\n",
            "caseharden.yaml, scenarios",
            "No file matches",
        ),
        ("environment: {id: s}\nscenarios: [3]\n", "caseharden.yaml, scenarios[0]", "not a record"),
        ("environment: {id: s}\nscenarios: ../../../etc/passwd\n", "caseharden.yaml, scenarios", "outside"),
        (
            "environment: {id: s}\ninstructions: instrutions.md\n",
            "instrutions.md",
            "Did you mean `instructions.md`",
        ),
        ("environment: {id: s}\nenvironment: {id: t}\n", "caseharden.yaml line 2 column 1", "stands twice"),
    ],
)
def test_wrong_folder_file_names_its_place(folder: Path, config: str, where: str, what: str) -> None:
    (folder / "caseharden.yaml").write_text(config)
    with pytest.raises(CasehardenError) as caught:
        read_folder(folder, Roots([folder]))
    assert caught.value.where == where
    assert what in caught.value.what


def test_folder_without_its_file_or_outside_the_roots_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"holds no caseharden\.yaml"):
        read_folder("scenarios", Roots([folder]))
    with pytest.raises(NotAllowed, match="outside the allowed roots"):
        read_folder(tmp_path, Roots([folder]))


@pytest.mark.requirement("CH-19")
def test_promoted_text_goes_back_to_its_file_and_reads_the_same(folder: Path) -> None:
    file = folder / "instructions.md"
    file.write_bytes(b"Be polite.\r\nLook first.\r\n")
    file.chmod(0o640)
    write_instructions(file, "Be polite.\nAsk first.", Roots([folder]))
    assert file.read_bytes() == b"Be polite.\r\nAsk first.\r\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert read_folder(folder, Roots([folder])).instructions == "Be polite.\nAsk first."
    assert sorted(f.name for f in folder.iterdir() if f.name.startswith(".")) == []


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a\0b", "C:\\x", "\\\\host\\share", "", "link/passwd", "x" * 5000]
)
def test_paths_out_of_the_roots_are_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    roots = Roots([tmp_path])
    for act in (lambda: roots.read_text(path, "file"), lambda: roots.write_text(path, "x", "file")):
        with pytest.raises((NotAllowed, InvalidArgument)):
            act()


def test_files_that_are_not_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    roots = Roots([tmp_path])
    for name in ("pipe", "loop", "."):
        with pytest.raises(CasehardenError):
            roots.read_text(name, "file")


def test_existing_file_is_not_written_over_without_leave(tmp_path: Path) -> None:
    roots = Roots([tmp_path])
    assert roots.write_text("a.txt", "one", "file") == tmp_path / "a.txt"
    with pytest.raises(NotAllowed, match="exists"):
        roots.write_text("a.txt", "two", "file")
    assert roots.read_text("a.txt", "file") == "one"
    roots.write_text("a.txt", "two", "file", overwrite=True)
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_becomes_a_link_before_its_file_is_opened_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside, opened = tmp_path / "root", tmp_path / "outside", os.open
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "in.txt").write_text("inside")
    (outside / "b").mkdir(parents=True)
    (outside / "b" / "in.txt").write_text("secret")
    roots = Roots([root])

    def swapped(*args: Any, **more: Any) -> int:
        if not (root / "a").is_symlink():
            (root / "a").rename(root / "gone")
            (root / "a").symlink_to(outside)
        return opened(*args, **more)

    for act in (
        lambda: roots.read_text("a/b/in.txt", "file"),
        lambda: roots.write_text("a/b/in.txt", "mine", "file", overwrite=True),
    ):
        monkeypatch.setattr("os.open", swapped)
        with pytest.raises((NotAllowed, StorageError), match=r"a/b/in\.txt"):
            act()
        monkeypatch.undo()
        (root / "a").unlink()
        (root / "gone").rename(root / "a")
    assert (outside / "b" / "in.txt").read_text() == "secret"
    assert [f.name for f in (outside / "b").iterdir()] == ["in.txt"]
    assert roots.read_text("a/b/in.txt", "file") == "inside"


def test_a_new_file_has_the_mode_of_the_umask_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    roots = Roots([tmp_path])
    (tmp_path / "old.txt").touch(0o640)
    (tmp_path / "usual.txt").touch()
    for name in ("old.txt", "new.txt"):
        roots.write_text(name, "x", "file", overwrite=True)
    old, new, usual = (os.stat(tmp_path / name).st_mode for name in ("old.txt", "new.txt", "usual.txt"))
    assert (old & 0o777, new) == (0o640, usual)


def test_large_and_wrongly_encoded_files_are_refused(tmp_path: Path) -> None:
    roots = Roots([tmp_path])
    (tmp_path / "large.json").write_bytes(b" " * 1001)
    with pytest.raises(InvalidArgument, match="too large"):
        roots.read_text("large.json", "file", limit=1000)
    (tmp_path / "latin.md").write_bytes(b"one\ncaf\xe9\n")
    with pytest.raises(InvalidArgument, match="Line 2 is not UTF-8"):
        roots.read_text("latin.md", "file")


def test_a_relative_path_is_looked_for_below_every_root(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "x.json").write_text("[1]")
    roots = Roots([tmp_path / "a", tmp_path / "b"])
    assert roots.read_json("x.json", "file") == [1]
    assert roots.show(tmp_path / "b" / "x.json") == "x.json"
    with pytest.raises(NotFound, match=r"Did you mean `x\.json`"):
        roots.read_text(tmp_path / "b" / "y.json", "file")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": NaN}', "NaN"),
        ("[-Infinity]", "Infinity"),
        ("[1e999]", "too large"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ("{" + ", ".join(f'"k{k}": 1' for k in range(200_000)) + ', "k9": 2}', "`k9` stands twice"),
        ("[" * 100_000 + "]" * 100_000, "too deep"),
        ("[" * 101 + "]" * 101, "too deep"),
        ("[1" + "0" * 5000 + "]", "too many digits"),
        ('{"a": }', "Expecting value"),
        ("", "Expecting value"),
    ],
)
def test_hostile_json_is_refused_with_its_place(text: str, what: str) -> None:
    with pytest.raises(InvalidArgument, match=what) as caught:
        parse_json(text, "cases/x.json")
    assert caught.value.where.startswith("cases/x.json")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: .nan", "not a number"),
        ("a: 1\na: 2", "stands twice"),
        ("[" * 100_000, "too deep"),
        ("\n".join(" " * i + "a:" for i in range(3000)), "too deep"),
        ("!!python/object/apply:os.system [ls]", "tag"),
        ("a: !!timestamp 2026-01-01", "tag"),
        ("a: &a [1]\nb:\n  <<: *a", "Merge"),
        ("a: *nowhere", "No anchor"),
        ("a: 1\n---\nb: 2", "second document"),
        ("{[a]: 1}", "key is a list"),
        ("a: 1e999", "too large"),
        ("a: [1", "not YAML"),
        ("a: \x07", "not YAML"),
        (
            "\n".join(
                [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9 if i else ['x'] * 9)}]" for i in range(12)]
            ),
            "aliases",
        ),
        ("\n".join([f"a{i}: &a{i} [{f'*a{i - 1}' if i else '1'}]" for i in range(120)]), "too deep"),
    ],
)
def test_hostile_yaml_is_refused_with_its_place(text: str, what: str) -> None:
    with pytest.raises(InvalidArgument, match=what) as caught:
        parse_yaml(text, "cases/x.yaml")
    assert caught.value.where.startswith("cases/x.yaml")


def test_yaml_means_what_json_means() -> None:
    text = "zip: 01234\nday: 2026-01-01\nno: yes\nn: [-2.5, 1e3, 0x10, 12:30]\nt: [true, null, ~, True]"
    assert parse_yaml(text, "x") == {
        "zip": "01234",
        "day": "2026-01-01",
        "no": "yes",
        "n": [-2.5, 1000.0, "0x10", "12:30"],
        "t": [True, None, None, "True"],
    }
    assert parse_yaml("base: &b {x: [1]}\nuse: *b", "x") == {"base": {"x": [1]}, "use": {"x": [1]}}
    assert parse_yaml("", "x") is None


def test_json_lines_name_their_line() -> None:
    assert parse_jsonl('{"a": 1}\n\n2\n', "x.jsonl") == [{"a": 1}, 2]
    assert parse_yaml("a: '5'", "x") == {"a": "5"}
    with pytest.raises(InvalidArgument) as caught:
        parse_jsonl('{"a": 1}\n{"a": }\n', "x.jsonl")
    assert caught.value.where == "x.jsonl line 2 line 1 column 7"


def test_other_endings_are_named_as_not_read() -> None:
    with pytest.raises(InvalidArgument, match=r"\.json"):
        parse("x", ".toml", "a.toml")


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc<é ", max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(JSON_VALUES)
def test_every_json_text_reads_the_same_as_json_and_as_yaml(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert parse_json(text, "x") == value
    if "<<" not in text:
        assert parse_yaml(text, "x") == value
