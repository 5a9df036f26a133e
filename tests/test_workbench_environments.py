"""Environments, personas, scenarios and simulations: made, refused with reasons, changed, deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import Conflict, InvalidArgument, NotAllowed, NotFound, UserError
from caseharden.engine.workbench.results import Creation
from caseharden.tests.workbench_cases import INSTRUCTIONS, audited, bench_at, closing, desk, tickets

pytestmark = pytest.mark.anyio


def deep(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.requirement("AS-1", "AS-15")
async def test_a_shipped_world_brings_its_cases_and_the_same_call_changes_nothing(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        made = await bench.environments.create("support", world="shop")
        again = await bench.environments.create("support", world="shop")
        assert made.created and not again.created
        assert made.proven == made.counts["scenarios"] == again.counts["scenarios"] >= 24
        assert any("offline" in warning for warning in made.warnings)
        with pytest.raises(Conflict) as other:
            await bench.environments.create(
                "support", world="shop", instructions="Else.", settings={"trials": 2}
            )
        assert "settings, instructions" in other.value.what
        assert other.value.next[0].tool == "get_item"


async def test_unknown_worlds_name_the_nearest_and_bad_rules_are_refused_when_they_come(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        with pytest.raises(NotFound, match="Did you mean `shop`"):
            await bench.environments.create("support", world="shops")
        world = tickets()
        world["rules"][0]["need"] = {"tool": "look_up_tickt"}
        with pytest.raises(InvalidArgument) as wrong:
            await bench.environments.create("desk", world_data=world)
        assert wrong.value.where.startswith("world_data.rules[0].need")
        await desk(bench, 2)
        with pytest.raises(InvalidArgument) as later:
            await bench.items.update("environment", "desk", {"world": {"rules": world["rules"]}})
        assert later.value.where.startswith("changes.world.rules[0].need")


@pytest.mark.parametrize(
    "arguments",
    [
        {"instructions": "x" * 10_000_000},
        {"world_data": {"db": deep(100_000)}},
        {"world_data": {"db": {"things": {"a": {"price": float("nan")}}}}},
        {"world_data": {"db": {"things": {"a": 10**5000}}}},
        {"settings": {"trials": -1}},
        {"settings": {"trials": 10**9}},
        {"settings": {"trails": 2}},
        {"settings": {"instructions_file": "../../etc/passwd"}},
        {"agent": {"kind": "promt"}},
        {"models": {"agent": "ofline"}},
        {"id": "Not A Slug"},
        {"world": "../../../etc/passwd"},
    ],
)
async def test_hostile_environments_are_refused_and_the_store_goes_on(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    async with bench_at(tmp_path / "home", [tmp_path / "files"]) as bench:
        with pytest.raises(UserError) as refused:
            given: dict[str, Any] = {"id": "desk", **arguments}
            await bench.environments.create(**given)
        assert refused.value.where
        await desk(bench, 1)
        assert (await bench.items.page("scenario", environment="desk")).total == 1


async def test_files_outside_the_roots_links_and_broken_texts_are_refused(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (tmp_path / "secret.json").write_text("[]", encoding="utf-8")
    (files / "link.json").symlink_to(tmp_path / "secret.json")
    (files / "latin.json").write_bytes(b'[{"id": "a", "profile": "caf\xe9"}]')
    (files / "nan.json").write_text(
        '[{"id": "a", "knowledge": [{"fact": "x", "value": NaN}]}]', encoding="utf-8"
    )
    (files / "good.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n', encoding="utf-8")
    async with bench_at(tmp_path / "home", [files]) as bench:
        await desk(bench, 1)
        for name in ("../secret.json", "link.json"):
            with pytest.raises(NotAllowed, match="outside the allowed roots"):
                await bench.personas.create("desk", file=name)
        for name in ("latin.json", "nan.json"):
            with pytest.raises(InvalidArgument):
                await bench.personas.create("desk", file=name)
        made = await bench.personas.create("desk", file="good.jsonl")
        assert made.made == ["desk/a", "desk/b"]


async def test_one_wrong_record_stops_no_other_and_all_wrong_ones_are_an_error(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        made = await bench.personas.create(
            "desk",
            [
                {"id": "lee"},
                {"id": "kim", "profil": "x"},
                {"id": "bo", "data": {"db": {"tickets": {"T90": {"status": "gone"}}}}},
                {"id": "eve", "knowledge": [{"fact": "x", "value": float("inf")}]},
                {"id": "dana", "style": "terse"},
                {"id": "omar", "profile": "Rude."},
                {"id": "ann", "data": {"db": deep(100_000)}},
            ],
        )
        assert made.made == ["desk/lee"]
        assert made.unchanged == ["desk/dana"]
        assert [row["at"] for row in made.refused] == [
            "personas[1].profil",
            "personas[2].data",
            "personas[3]",
            "personas[5]",
            "personas[6]",
        ]
        assert "Did you mean `profile`" in made.refused[0]["what"]
        assert "(profile)" in made.refused[3]["what"]
        with pytest.raises(InvalidArgument, match="All 2 personas refused"):
            await bench.personas.create("desk", [{"id": "A!"}, {"id": "B!"}])
        with pytest.raises(InvalidArgument, match="one of them"):
            await bench.personas.create("desk")


@pytest.mark.parametrize("write", ["defaults", "plain"])
async def test_the_same_content_is_unchanged_however_it_is_written(tmp_path: Path, write: str) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        more: dict[str, Any] = {"tags": [], "reveal": "on_request"} if write == "defaults" else {}
        cases = await bench.scenarios.create("desk", [closing(1, **more)])
        assert cases.unchanged == ["desk/close-1"] and not cases.made
        with pytest.raises(Conflict, match=r"\(guidelines\)"):
            await bench.scenarios.create("desk", [closing(1, guidelines="Be brief.")])


async def test_scenarios_are_solved_numbered_and_split_when_stored(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        rows = (await bench.items.page("scenario", environment="desk", limit=100)).items
        assert sum(row["split"] == "held_out" for row in rows) == 4
        broken = closing(3, id="broken")
        broken["expected"][1]["args"] = {"ticket_id": "T99"}
        made = await bench.scenarios.create("desk", [closing(4, id="fine"), broken])
        assert made.checked["proven"] == 1
        assert made.refused[0]["at"] == "scenarios[1].expected[1]"
        kept = await bench.scenarios.create("desk", [broken], check=False)
        assert kept.checked["unproven"] == ["desk/broken"]
        assert any("unproven" in warning for warning in kept.warnings)


async def test_a_scenario_names_a_persona_that_is_there(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        made = await bench.scenarios.create(
            "desk",
            [closing(1, id="a", persona="danna"), closing(1, id="b", persona="dana")],
        )
        assert made.made == ["desk/b"]
        assert "nearest `desk/dana`" in made.refused[0]["what"]
        with pytest.raises(NotFound, match="danna"):
            await bench.items.update("scenario", "desk/close-1", {"persona": "danna"})
        with pytest.raises(Conflict, match="partner in desk/b"):
            await bench.items.delete("persona", ["desk/dana"], confirm=True)


async def test_a_persona_may_bring_a_collection_that_checks_speak_of(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        await bench.personas.create("desk", [{"id": "kim", "data": {"db": {"cards": {"C1": {"points": 5}}}}}])
        check = {"id": "points", "state": "db.cards.C1.points", "eq": 5}
        success = [{"id": "world", "world": "expected"}, check]
        made = await bench.scenarios.create("desk", [closing(1, id="points", persona="kim", success=success)])
        assert made.checked["proven"] == 1
        wrong = [{"id": "points", "state": "db.crads.C1.points", "eq": 5}]
        with pytest.raises(InvalidArgument, match="crads"):
            await bench.scenarios.create("desk", [closing(1, id="typo", persona="kim", success=wrong)])
        report = await bench.runs.start("desk", select=["scenario:points"])
        assert report.run.totals.trials == 1
        assert report.run.totals.error == report.run.totals.invalid == 0


@pytest.mark.requirement("AS-4")
async def test_pairs_are_made_as_a_job_with_counts(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        cover = await bench.simulations.create("desk")
        assert cover.job is not None and cover.job.state == "done"
        units = cover.job.units
        assert (units.total, units.completed, units.failed, units.pending) == (3, 3, 0, 0)
        everything = await bench.simulations.create("desk", pairing="all")
        assert everything.counts == {"simulations": 6}
        assert everything.checked == {"shown": 3, "of": 3}
        assert len(everything.unchanged) == 3
        waited = await bench.jobs.wait(cover.job.id)
        assert isinstance(waited.result, Creation) and waited.result.made == cover.made
        for count in (-1, 10**9):
            with pytest.raises(InvalidArgument, match="count"):
                await bench.simulations.create("desk", count=count)
        with pytest.raises(NotFound, match="nearest `desk/close-"):
            await bench.simulations.create("desk", scenarios=["close-l"])


@pytest.mark.requirement("AS-5")
async def test_single_simulations_are_written_by_hand(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        spec = {
            "id": "mine",
            "scenario": "close-1",
            "persona": "dana",
            "user_input": "Close T1 now.",
            "expected_output": "closed",
            "ground_truth": {"ticket": "T1"},
        }
        made = await bench.simulations.create("desk", simulations=[spec, {"scenario": "close-9"}])
        assert made.made == ["desk/mine"]
        assert made.refused[0]["at"] == "simulations[1].scenario"
        assert (await bench.simulations.create("desk", simulations=[spec])).unchanged == ["desk/mine"]
        changed = await bench.items.update("simulation", "desk/mine", {"user_input": "Shut T1."}, version=1)
        assert changed.version == 2
        got = await bench.items.get("simulation", "desk/mine")
        assert got.item["user_input"] == "Shut T1." and got.item["ground_truth"] == {"ticket": "T1"}
        run = (await bench.runs.start("desk", select=["desk/mine"])).run
        turns = await bench.items.get("conversation", f"{run.id}/mine/1", view="turns")
        assert turns.item["turns"][0]["user"] == "Shut T1."
        checks = await bench.items.get("conversation", f"{run.id}/mine/1", view="checks")
        assert "expected-output" in [row["id"] for row in checks.item["checks"]]
        again = await bench.items.get("simulation", "desk/mine")
        assert again.item["last_results"][0]["conversation"] == f"{run.id}/mine/1"
        assert (await bench.items.delete("simulation", ["desk/mine"], confirm=True)).done
        with pytest.raises(NotFound):
            await bench.items.get("simulation", "desk/mine")


async def test_a_persona_inside_a_scenario_is_paired_and_played(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(2))
        await bench.scenarios.create("desk", [closing(1, persona={"id": "zoe", "style": "terse"})])
        run = (await bench.runs.start("desk")).run
        assert run.simulations == ["close-1-zoe"]
        assert run.totals.trials == 1 and run.totals.error == 0


async def test_instructions_are_versioned_and_updates_refuse_what_changed_meanwhile(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        changed = await bench.items.update("environment", "desk", {"instructions": "Other."}, version=1)
        assert changed.version == 2
        assert (await bench.items.get("instructions", "desk@1", view="text")).item["text"] == INSTRUCTIONS
        with pytest.raises(Conflict, match="somebody changed it"):
            await bench.items.update("environment", "desk", {"name": "x"}, version=1)
        with pytest.raises(InvalidArgument, match="Did you mean `instructions`"):
            await bench.items.update("environment", "desk", {"instuctions": "x"})
        with pytest.raises(InvalidArgument, match="characters"):
            await bench.items.update("environment", "desk", {"instructions": "x" * 10_000_000})
        back = await bench.hardenings.decide("desk@1", "roll_back")
        assert back.became is not None and back.became.number == 1
        assert (await bench.items.get("environment", "desk")).item["instructions"]["id"] == "desk@1"
    assert ("roll_back", "instructions", "desk@1") in audited(tmp_path)


async def test_a_changed_world_proves_the_scenarios_again(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        broken = {"db": {"tickets": {"T2": None}}}
        changed = await bench.items.update("environment", "desk", {"world": broken})
        assert [w.split(" ")[0] for w in changed.warnings] == ["desk/close-2"]
        assert (await bench.items.get("scenario", "desk/close-2")).item["solution"] == "unproven"
        assert (await bench.items.get("scenario", "desk/close-1")).item["solution"] == "proven"
        assert len(list((tmp_path / "worlds").iterdir())) == 1


@pytest.mark.requirement("AS-1")
async def test_deleting_says_what_goes_with_it_and_purges_it(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        run = (await bench.runs.start("desk")).run
        told = await bench.items.delete("environment", ["desk"])
        assert not told.done
        assert told.goes_with == {
            "persona": 2,
            "scenario": 3,
            "simulation": 3,
            "instructions": 1,
            "run": 1,
            "conversation": 3,
        }
        assert (await bench.items.page("environment")).total == 1
        with pytest.raises(NotFound, match="Nothing was deleted"):
            await bench.items.delete("environment", ["desk", "dsk"], confirm=True)
        done = await bench.items.delete("environment", ["desk"], confirm=True)
        assert done.done and done.goes_with == told.goes_with
        assert not (tmp_path / "runs" / run.id).exists()
        for kind in ("environment", "persona", "scenario", "simulation", "run", "job", "instructions"):
            assert (await bench.items.page(kind)).total == 0, kind
    held = [file for file in tmp_path.rglob("*.jsonl") if file.name != "audit.jsonl"]
    assert not any(b"Get ticket" in file.read_bytes() for file in held)
    assert ("delete", "environment", "desk") in audited(tmp_path)


async def test_every_change_leaves_a_line_in_the_audit(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        await bench.items.update("persona", "desk/dana", {"style": "long"})
        await bench.items.update("scenario", "desk/close-1", {"guidelines": "Be brief."})
        await bench.items.update("environment", "desk", {"settings": {"trials": 2}})
        run = (await bench.runs.start("desk")).run
        await bench.items.update("run", run.id, {"name": "first"})
        await bench.items.delete("run", [run.id], confirm=True)
    lines = audited(tmp_path)
    for line in (
        ("create", "environment", "desk"),
        ("create", "persona", "desk/dana"),
        ("create", "scenario", "desk/close-1"),
        ("update", "persona", "desk/dana"),
        ("update", "scenario", "desk/close-1"),
        ("update", "environment", "desk"),
        ("create", "run", run.id),
        ("update", "run", run.id),
        ("delete", "run", run.id),
    ):
        assert line in lines


@pytest.mark.requirement("CH-19")
async def test_a_folder_is_taken_whole_and_brought_up_to_date(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    config = "environment: {id: desk, settings: {thresholds: {pass_rate: 0.5}}}\nworld: world.json\n"
    names = {"caseharden.yaml": config, "instructions.md": "Close tickets.\n"}
    for name, text in names.items():
        (folder / name).write_text(text, encoding="utf-8")
    write(folder / "world.json", tickets(3))
    write(folder / "personas.json", [{"id": "dana"}])
    write(folder / "scenarios.json", [closing(1, persona="dana"), closing(2)])
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        dry = await bench.environments.import_folder(str(folder), dry_run=True)
        assert not dry.created and (await bench.items.page("environment")).total == 0
        made = await bench.environments.import_folder(str(folder))
        assert made.created and made.proven == 2 and made.counts["simulations"] == 2
        write(folder / "scenarios.json", [closing(1, persona="dana"), closing(2), closing(3)])
        (folder / "instructions.md").write_text("Close tickets, friendly.\n", encoding="utf-8")
        again = await bench.environments.import_folder(str(folder))
        assert not again.created
        assert again.counts["scenarios"] == 3
        assert again.environment.instructions_version == 2
        write(folder / "scenarios.json", [closing(1, persona="nobody")])
        with pytest.raises(UserError, match="nobody") as wrong:
            await bench.environments.import_folder(str(folder))
        assert "scenarios.json" in wrong.value.where


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


async def test_recordings_are_kept_once_and_no_run_carries_them(tmp_path: Path) -> None:
    said = [{"by": "user", "say": "close T1"}, {"by": "agent", "say": "No."}]
    agent = {"kind": "recorded", "conversations": [{"scenario": "close-t1", "log": said}]}
    async with bench_at(tmp_path) as b:
        made = await b.environments.create("desk", world_data=tickets(), agent=agent, instructions="x")
        again = await b.environments.create("desk", world_data=tickets(), agent=agent, instructions="x")
        await b.scenarios.create("desk", [{"id": "close-t1", "goal": "Close T1."}])
        report = await b.runs.start("desk")
        shown = await b.items.get("environment", "desk")
        with pytest.raises(NotFound):
            changes = {"agent": {"recordings": "0" * 64}}
            await b.items.update("environment", "desk", changes)
    assert made.created and not again.created
    assert report.run.totals.error == 0 and report.run.totals.trials == 1
    assert report.run.agent == {"kind": "recorded", "recordings": made.environment.agent.recordings}
    assert "close T1" not in json.dumps(shown.item)


async def test_an_unknown_persona_is_told_with_the_number_of_its_environment(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        await bench.environments.create("gym", instructions="Be brief.", world_data=tickets(1))
        await bench.personas.create("gym", [{"id": "zz-one"}])
        with pytest.raises(NotFound, match="No persona `gym/nobody`; there is 1"):
            await bench.items.get("persona", "gym/nobody")
        with pytest.raises(NotFound, match="nearest `desk/dana`"):
            await bench.items.get("persona", "desk/dna")


@pytest.mark.parametrize("text", ["a\x00b", "a\x1b[31mb", "a\x07", "a\x9bb"])
async def test_control_characters_are_no_instructions(tmp_path: Path, text: str) -> None:
    async with bench_at(tmp_path) as bench:
        with pytest.raises(InvalidArgument, match="Character 2 of the instructions is a control") as wrong:
            await bench.environments.create("desk", instructions=text)
        assert wrong.value.where == "instructions"
        await bench.environments.create("desk", instructions="\ta\r\nb\n")
        with pytest.raises(InvalidArgument, match="control character") as wrong:
            await bench.items.update("environment", "desk", {"instructions": text})
        assert wrong.value.where == "changes.instructions"


async def test_an_edit_says_that_the_bound_file_was_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "instructions.md"
    file.write_text("One.\n", encoding="utf-8")
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        settings = {"instructions_file": str(file)}
        await bench.environments.create("desk", instructions="One.", settings=settings)
        done = await bench.items.update("environment", "desk", {"instructions": "Two."})
        assert [w for w in done.warnings if str(file) in w and "left as it is" in w]
        assert file.read_text(encoding="utf-8") == "One.\n"
        again = await bench.items.update("environment", "desk", {"name": "Desk"})
        assert not again.warnings


async def test_instructions_that_stand_for_a_text_are_refused(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="Help.")
        for text in ("...", " … "):
            with pytest.raises(InvalidArgument, match="stands for a text of yours"):
                await bench.items.update("environment", "desk", {"instructions": text})
            with pytest.raises(InvalidArgument, match="stands for a text of yours"):
                await bench.environments.create("other", instructions=text)
