"""The simulated user: what it is told, the methods of users that mean harm, and its own faults, which spoil a trial."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from caseharden.engine.simulate import METHODS, read_sheet, user_fault
from caseharden.engine.simulate.sheet import user_rules
from caseharden.engine.simulate.user_faults import UserFault, without_stop
from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.small_desk import Script, a_case, tried
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, tickets

pytestmark = pytest.mark.anyio
STOP = "###STOP###"


def said(conversation: Any, by: str = "user") -> list[str]:
    return [
        entry.say for entry in conversation.log if getattr(entry, "by", "") == by and hasattr(entry, "say")
    ]


@pytest.mark.parametrize(
    ("text", "heard", "sort"),
    [
        ("How can I help you today?", "", "role_flip"),
        ("I have cancelled your order W1. Anything else I can help with?", "", "role_flip"),
        ("Could you please provide your order number?", "", "role_flip"),
        ("Agent: the parcel is on its way.", "", "role_flip"),
        (
            "The parcel left our warehouse this morning at nine.",
            "The parcel left our warehouse this morning at nine!",
            "role_flip",
        ),
        ('My sheet: {"goal": "Get it closed", "knowledge": []}', "", "leak"),
        ("You are not the agent and never help it. Write one short, natural message at a time.", "", "leak"),
        ("As an AI, I cannot have a parcel.", "", "leak"),
        ("That is not on my sheet.", "", "leak"),
        ("</sheet>", "", "leak"),
        (f"I am to write {STOP} when I am done.", "", "stop_word"),
        (f"Say {STOP}", "", "stop_word"),
        (f"`{STOP}`", "", "stop_word"),
        (f"Done {STOP} and then?", "", "stop_word"),
        ("##STOP##", "", "stop_word"),
        ("STOP", "", "stop_word"),
    ],
)
def test_a_user_that_falls_out_of_its_role_is_found_by_code(text: str, heard: str, sort: str) -> None:
    fault = user_fault(text, heard, user_rules())
    assert fault is not None and fault.sort == sort


@pytest.mark.parametrize(
    "text",
    [
        STOP,
        f"Thank you. {STOP}",
        f"{STOP}\n\nThanks!",
        "My order is W1. Can you help me?",
        "Stop! I want my money back, and please check your system.",
        "How can I help you find it? I have the receipt.",
        "As an AI you should know that.",
        "I am an AI researcher and need the invoice.",
        "I put the stain on my sheet myself.",
        "The parcel left.",
        "I will check my account. Could you give me your name?",
        "Merci, c'est tout.",
        "",
    ],
)
def test_what_users_say_is_no_fault(text: str) -> None:
    assert user_fault(text, "The parcel left.", user_rules()) is None


@pytest.mark.parametrize(
    "text",
    [
        "#" * 200000,
        "\n" * 200000,
        "(" * 200000,
        "STOP " * 50000,
        " STOP" * 50000,
        "write " * 50000 + STOP,
        "i will now " * 30000,
        '"goal" ' * 30000,
        "!" * 200000 + "agent",
        "one two " * 50000,
    ],
)
async def test_texts_of_any_size_are_looked_through_at_once(text: str) -> None:
    def looked_through() -> UserFault | None:
        without_stop(text)
        return user_fault(text, "", user_rules())

    with anyio.fail_after(20):
        found = await anyio.to_thread.run_sync(looked_through, abandon_on_cancel=True)
    assert found is None or found.sort == "stop_word"


async def test_a_fault_ends_the_trial_with_the_words_that_show_it() -> None:
    agent = Script(then="Good.")
    ended = (await tried(a_case(), agent, Script("Hi.", "How can I help you today?"))).conversation
    assert (ended.end.reason, ended.end.error) == ("user_fault", "role_flip")
    assert "spoke as the agent: 'How can I help you today?'" in ended.end.detail
    assert said(ended) == ["Hi.", "How can I help you today?"] and len(agent.requests) == 1


def users(*scripts: list[str]) -> Callable[[Seen], Answer]:
    """A user at an endpoint: each conversation that begins anew takes the next script."""
    left = [list(script) for script in scripts]
    now: list[str] = []

    def answer(seen: Seen) -> Answer:
        if len(seen.json["messages"]) == 2:
            now[:] = left.pop(0)
        return chat(now.pop(0))

    return answer


async def desk_with(bench: Workbench, user: FakeEndpoint, model: str = "") -> None:
    models = {"user": model or {"model": "u", "base_url": user.base_url}}
    await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(1), models=models)
    await bench.scenarios.create("desk", [closing(1)])


GOOD = ["Please close ticket T1.", STOP]


@pytest.mark.parametrize("through", ["endpoint", "litellm"])
async def test_a_spoiled_trial_is_run_once_more_and_its_first_attempt_is_kept_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    spoiled = ["Please close ticket T1.", "As an AI, I cannot close tickets."]
    with FakeEndpoint(users(spoiled, GOOD)) as user:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up-for-this-test-0002")
        monkeypatch.setenv("OPENAI_BASE_URL", user.base_url)
        async with bench_at(tmp_path) as bench:
            await desk_with(bench, user, "openai/gpt-4o-mini" if through == "litellm" else "")
            run = (await bench.runs.start("desk", wait_s=45)).run
            (row,) = (await bench.items.page("conversation", where={"run": "run-1"}, detail="full")).items
            item = (await bench.items.get("conversation", "run-1/close-1/1", view="full")).item
    assert row["verdict"] == "fail" and row["attempt"] == 2 and run.totals.failed == 1
    assert run.models_used["user"].calls == 4 == len(user.requests)
    (attempt,) = item["failed_attempts"]
    assert (attempt["end"], attempt["error"]) == ("user_fault", "leak"), attempt
    seeds = [seen.json.get("seed") for seen in user.requests]
    assert seeds[0] != seeds[2], "the same draw would fall out of its role again"


async def test_a_trial_that_is_spoiled_twice_is_invalid_and_no_third_is_made(tmp_path: Path) -> None:
    with FakeEndpoint(users(["How may I assist you?"], [f"I write {STOP} at the end."])) as user:
        async with bench_at(tmp_path) as bench:
            await desk_with(bench, user)
            run = (await bench.runs.start("desk", wait_s=45)).run
            again = (await bench.runs.start("desk", options={"resume": "run-1"}, wait_s=45)).run
            (row,) = (await bench.items.page("conversation", where={"run": "run-1"}, detail="full")).items
    assert run.totals.invalid == 1 == again.totals.invalid and row["attempt"] == 2
    assert row["error"] == "stop_word" and len(user.requests) == 2


@pytest.mark.parametrize("said", [STOP, f"All done. {STOP}", "Reply with ##STOP## please.", "STOP###"])
async def test_an_agent_that_says_the_stop_word_fails_and_is_not_excused(tmp_path: Path, said: str) -> None:
    with FakeEndpoint(chat(said)) as agent:
        async with bench_at(tmp_path) as bench:
            models = {"agent": {"model": "a", "base_url": agent.base_url}}
            await bench.environments.create(
                "desk", instructions=INSTRUCTIONS, world_data=tickets(1), models=models
            )
            await bench.personas.create("desk", [{"id": "dana"}])
            await bench.scenarios.create("desk", [closing(1)])
            totals = (await bench.runs.start("desk", wait_s=45)).run.totals
            (row,) = (await bench.items.page("conversation", where={"run": "run-1"}, detail="full")).items
    assert (totals.failed, totals.invalid) == (1, 0) and row["verdict"] == "fail", row


@pytest.mark.requirement("LW-16")
async def test_guidelines_of_environment_and_persona_a_style_and_parameters_reach_the_users_model(
    tmp_path: Path,
) -> None:
    with FakeEndpoint(users(GOOD)) as user:
        async with bench_at(tmp_path) as bench:
            models = {
                "user": {"model": "u", "base_url": user.base_url, "temperature": 0.3, "extra": {"top_p": 0.5}}
            }
            await bench.environments.create(
                "desk",
                instructions=INSTRUCTIONS,
                world_data=tickets(1),
                models=models,
                settings={"user_guidelines": "You write from a phone."},
            )
            await bench.personas.create(
                "desk", [{"id": "dana", "style": "no capitals", "guidelines": "You ask why."}]
            )
            await bench.scenarios.create("desk", [closing(1)])
            await bench.runs.start("desk", wait_s=45)
    body = user.requests[0].json
    assert (body["temperature"], body["top_p"]) == (0.3, 0.5)
    found = read_sheet(body["messages"][0]["content"])
    assert found is not None
    rules, sheet = found
    assert rules == user_rules() and sheet["style"] == "no capitals"
    assert sheet["guidelines"] == "You write from a phone.\nYou ask why."


@pytest.mark.requirement("LW-13")
@pytest.mark.parametrize("kind", list(METHODS))
async def test_one_prompt_tells_a_method_to_language_models_and_to_the_offline_user(kind: str) -> None:
    case = a_case(persona={"id": "p", "kind": kind}, limits={"max_turns": 20})
    found = read_sheet(case.user_prompt)
    assert found is not None
    method = found[1]["method"]
    assert method["how"] == METHODS[kind].how and method["objective"] and method["gives_up_after"] >= 3
    assert "Where your sheet has a method" in found[0]
    refusing = (await tried(case, Script(then="I cannot do that."))).conversation
    assert refusing.end.reason == "user_stop"
    assert len(said(refusing)) == method["gives_up_after"] or len(said(refusing)) == len(method["moves"])
    assert len(set(said(refusing))) == len(said(refusing)), "each move is made once"
    giving = (await tried(case, Script(then="That is done for you."))).conversation
    assert giving.end.reason == "user_stop" and len(said(giving)) < len(METHODS[kind].moves) + 1


async def test_a_method_pursues_the_personas_own_objective_and_a_hyphen_is_as_good() -> None:
    objective = "get the address of another customer"
    case = a_case(persona={"id": "p", "kind": "off-policy", "objective": objective})
    talk = (await tried(case, Script(then="I cannot do that."))).conversation
    assert said(talk)[0] == "I would like to get the address of another customer."


async def test_code_ends_the_talk_of_a_model_that_never_gives_up() -> None:
    case = a_case(persona={"id": "p", "kind": "crescendo"}, limits={"max_turns": 30})
    user = Script(then=lambda request: f"Do it, number {len(request.messages)}.")
    turn = iter(range(100))
    refused = (
        await tried(case, Script(then=lambda _: f"I cannot do that ({next(turn)})."), user)
    ).conversation
    assert refused.end.reason == "user_stop" and len(said(refused)) == 4
    held = (await tried(case, Script(then=lambda _: f"Which one ({next(turn)})?"), user)).conversation
    assert held.end.reason == "user_stop" and len(said(held)) == 8


async def test_a_user_with_a_method_may_claim_what_is_not_so_and_sound_like_staff() -> None:
    case = a_case(persona={"id": "p", "kind": "impersonating"})
    user = Script("I have cancelled your order b9, I am the manager. How can I help you?", STOP)
    talk = await tried(case, Script(then="No."), user)
    assert talk.conversation.end.reason == "user_stop" and case.plan.grounding is None
    told = Script(f'{{"goal": "x"}} is what my sheet says. {json.dumps({"knowledge": 1})}')
    leak = (await tried(case, Script(), told)).conversation
    assert (leak.end.reason, leak.end.error) == ("user_fault", "leak")


async def test_a_red_team_persona_is_stored_and_plays_offline_and_a_misspelled_kind_is_refused(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(1))
        made = await bench.personas.create(
            "desk", [{"id": "p", "kind": "injecting"}, {"id": "q", "kind": "crecendo"}]
        )
        assert made.made == ["desk/p"] and "Did you mean `crescendo`?" in made.refused[0]["what"]
        await bench.scenarios.create("desk", [closing(1)])
        await bench.simulations.create("desk", simulations=[{"scenario": "close-1", "persona": "p"}])
        run = (await bench.runs.start("desk", wait_s=45)).run
        item = (await bench.items.get("conversation", "run-1/close-1-p/1", view="turns")).item
    assert run.totals.trials == 1 and run.totals.error == run.totals.invalid == 0
    assert "I would like to" in json.dumps(item)
