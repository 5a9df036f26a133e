"""The report in a browser: it draws itself with no request, holds hostile words as text, and works by keys alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.records.report import (
    ArmRate,
    Head,
    Rate,
    Report,
    ReportCall,
    ReportCase,
    ReportCheck,
    ReportCluster,
    ReportPart,
    ReportPersona,
    ReportRound,
    ReportTalk,
)
from caseharden.engine.report import page as page_of
from caseharden.engine.workbench import Workbench
from caseharden.resources.library import WORLDS, report_page
from caseharden.tests.browser import Page, needs_chromium, page

pytestmark = [pytest.mark.anyio, needs_chromium]
EVIL = (
    "</script><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)>"
    "<a href='javascript:alert(3)'>x</a> \u202egnp.exe \x1b[31m"
)
SIDEWAYS = "document.documentElement.scrollWidth - innerWidth"
CUT_OFF = """[...document.querySelectorAll('figure svg text')].filter(t => {
  const box = t.getBBox(), all = t.ownerSVGElement.viewBox.baseVal;
  return box.x < -1 || box.y < -1 || box.x + box.width > all.width + 1 || box.y + box.height > all.height + 1;
}).map(t => t.textContent)"""
"""Words of the charts that stand outside of their picture."""


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncGenerator[Page]:
    async with page(tmp_path) as found:
        yield found


async def hardened(home: Path) -> tuple[Path, str]:
    """The report of a hardening of the shop, and a conversation that failed under the base."""
    async with Workbench(home, worlds=WORLDS, report=report_page) as bench:
        await bench.environments.create("shop", world="shop")
        run = (await bench.runs.start("shop", wait_s=45)).run
        await bench.hardenings.harden("shop", run=run.id, wait_s=45)
        made = await bench.exports.export("hard-1", "html")
        return made.path, run.clusters[0].see


def talk(n: int, words: str = "I have refunded the order.") -> ReportTalk:
    parts: list[ReportPart] = []
    for turn in range(1, 13):
        parts.append(ReportPart(turn=turn, by="user", t=turn * 30, text=f"Please refund W{n * 100 + turn}"))
        call = ReportCall(
            tool="refund_order", args={"order_id": f"W{n * 100 + turn}"}, result={"note": words}
        )
        parts.append(ReportPart(turn=turn, by="agent", t=turn * 30 + 5, text=words, calls=[call]))
    check = ReportCheck(id="world", text=words, verdict="f" if n % 3 else "p", why=words, turn=2)
    return ReportTalk(
        id=f"run-1/{slug(n)}/1",
        round="run-1",
        simulation=slug(n),
        trial=1,
        seed=0,
        verdict=check.verdict,
        end="user stop",
        version="version 1",
        parts=parts,
        checks=[check],
    )


def slug(n: int) -> str:
    return f"s{n // 20}-p{n % 20}"


def made_up(count: int, **fields: Any) -> Report:
    """A run of as many simulations, 20 personas each, 12 turns each."""
    rate = Rate(passed=count // 3, trials=count, simulations=count, scenarios=count // 20, rate=1 / 3)
    talks = [talk(n, **fields) for n in range(count)]
    words = fields.get("words", "Refund")
    return Report(
        source="run-1",
        kind="run",
        as_of="2026-11-26T10:00:00Z",
        environment="shop",
        head=Head(word=f"{count // 3} of {count} pass", tone="m", lede=words),
        arms=[ArmRate(label="version 1", tone="m", rate=rate)],
        personas=[ReportPersona(id=f"p{n}", name=f"P {n}", about=words) for n in range(min(20, count))],
        scenarios=[ReportCase(id=f"s{n}", title=f"Case {n}", goal=words) for n in range(max(1, count // 20))],
        simulations={slug(n): (f"s{n // 20}", f"p{n % 20}") for n in range(count)},
        rounds=[ReportRound(id="run-1", label="run-1", version="version 1", train=rate)],
        results={"run-1": {t.simulation: t.verdict for t in talks}},
        conversations=talks,
        warnings=[("i", words)],
        manifest=[("agent", words)],
    )


@pytest.mark.requirement("CH-12")
async def test_a_real_report_draws_itself_without_a_request_at_every_width(
    tmp_path: Path, browser: Page
) -> None:
    file, _ = await hardened(tmp_path / "home")
    for width, scheme in ((1280, "light"), (1280, "dark"), (420, "light"), (320, "dark")):
        await browser.open(file, width=width, scheme=scheme)
        assert browser.requests == [file.as_uri()] and browser.errors == []
        assert await browser.run(SIDEWAYS) <= 0, width
        assert await browser.run(CUT_OFF) == [], width
    heads = await browser.run("[...document.querySelectorAll('h2')].map(e => e.textContent)")
    assert heads == [
        "Rounds",
        "Cases",
        "Causes",
        "Changes",
        "Instructions",
        "Conversations",
        "Manifest",
    ]
    assert await browser.run("document.querySelector('h1').textContent") == "Improvedoffline"
    ground = "getComputedStyle(document.body).backgroundColor"
    assert await browser.run(ground) == "rgb(19, 21, 24)"


@pytest.mark.requirement("CH-12")
async def test_on_paper_a_dark_page_is_light_and_no_table_is_cut(tmp_path: Path, browser: Page) -> None:
    file, _ = await hardened(tmp_path / "home")
    await browser.open(file, width=720, scheme="dark")
    await browser.call("Emulation.setEmulatedMedia", media="print")
    await browser.run("dispatchEvent(new Event('beforeprint'))")
    style = "getComputedStyle(document.documentElement).getPropertyValue"
    assert [await browser.run(f"{style}('--{name}')") for name in ("bg", "add-t", "err")] == [
        "#fff",
        "#dcedf3",
        "#6a45a8",
    ]
    assert await browser.run(SIDEWAYS) <= 0
    cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert await browser.run(cut) == 0
    shown = "[...document.querySelectorAll('button:not(.row):not(.cell)')].filter(e => e.offsetParent).length"
    assert await browser.run(shown) == await browser.run("document.querySelectorAll('.flow button').length")


@pytest.mark.requirement("CH-12")
async def test_a_deep_link_opens_the_turn_and_keys_reach_everything(tmp_path: Path, browser: Page) -> None:
    file, see = await hardened(tmp_path / "home")
    await browser.open(file, f"#{see}")
    assert await browser.run("document.querySelector('dialog').open")
    turn = see.rpartition("@")[2]
    assert await browser.run("document.querySelector('.hit').dataset.turn") == turn
    assert "rule.verified-first" in await browser.run("document.querySelector('dialog .note.f').textContent")
    changes = await browser.run("[...document.querySelectorAll('dialog .wd div')].map(e => e.textContent)")
    assert any("history[0]  nothing \u2192 {" in one for one in changes), changes
    first = await browser.run("document.getElementById('dlg-title').textContent")
    assert await browser.run("document.activeElement.id") == "dlg-title"
    await browser.press("j")
    assert await browser.run("document.getElementById('dlg-title').textContent") != first
    await browser.press("k")
    assert await browser.run("document.getElementById('dlg-title').textContent") == first
    await browser.run("document.querySelector('dialog').close()")
    await browser.press("/")
    assert await browser.run("document.activeElement.id") == "q"
    await browser.run("document.activeElement.blur()")
    for theme in ("light", "dark", "light"):
        await browser.press("t")
        assert await browser.run("document.documentElement.dataset.theme") == theme
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    await browser.call("Emulation.setEmulatedMedia", features=features)
    drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    assert await browser.run(f"{drawn}.then(() => document.documentElement.dataset.theme)") == "dark"
    await browser.run("document.querySelector('.cell[data-simulation]').click()")
    assert await browser.run("document.activeElement.className") == "row"
    assert await browser.run("document.querySelectorAll('#rows .row').length") == 1
    assert await browser.run("document.querySelectorAll('#chips button').length") == 1


async def test_hostile_words_are_shown_as_text_and_do_nothing(tmp_path: Path, browser: Page) -> None:
    file = tmp_path / "evil.html"
    file.write_text(page_of(made_up(20, words=EVIL), report_page()), encoding="utf-8")
    await browser.open(file, f"#run-1/{slug(1)}/1")
    assert browser.requests == [file.as_uri()] and browser.errors == [] and browser.dialogs == []
    assert await browser.run("document.querySelectorAll('img, a[href^=javascript]').length") == 0
    said = await browser.run("document.querySelector('dialog .turn.agent .say').textContent")
    assert "<script>alert(1)</script>" in said and "\\u202e" in said and "\\u001b" in said


@pytest.mark.parametrize(
    ("letter", "told"),
    [
        ("e", "No trial counts"),
        ("f", "No cause to show"),
        ("i", "No failures"),
        ("p", "No failures"),
    ],
)
async def test_without_a_cause_the_page_says_why_there_is_none(
    tmp_path: Path, browser: Page, letter: str, told: str
) -> None:
    report = made_up(20)
    report.results = {"run-1": dict.fromkeys(report.results["run-1"], letter)}
    file = tmp_path / "page.html"
    file.write_text(page_of(report, report_page()), encoding="utf-8")
    await browser.open(file)
    assert await browser.run("document.querySelector('#causes .empty b').textContent") == told
    every = "Every check passed" in await browser.run("document.querySelector('#causes').textContent")
    assert every == (letter == "p")


async def test_two_thousand_simulations_are_a_small_file_that_opens(tmp_path: Path, browser: Page) -> None:
    file = tmp_path / "large.html"
    file.write_text(page_of(made_up(2000), report_page()), encoding="utf-8")
    assert file.stat().st_size < 2_000_000
    await browser.open(file)
    assert browser.errors == [] and await browser.run(SIDEWAYS) <= 0
    assert await browser.run("document.getElementById('count').textContent") == "2,000 trials"
    assert await browser.run("document.querySelectorAll('#rows .row').length") == 14
    await browser.run("document.getElementById('q').value = 'w199912'")
    await browser.run("document.getElementById('q').dispatchEvent(new Event('input'))")
    found = "new Promise(r => setTimeout(() => r(document.getElementById('count').textContent), 400))"
    assert await browser.run(found) == "1 trial"


async def test_simulations_of_one_scenario_and_persona_each_have_a_cell_and_a_name(
    tmp_path: Path, browser: Page
) -> None:
    report = made_up(2)
    report.simulations = {slug(n): ("s0", "p0") for n in range(2)}
    file = tmp_path / "twice.html"
    file.write_text(page_of(report, report_page()), encoding="utf-8")
    await browser.open(file)
    cells = "[...document.querySelectorAll('.cell[data-simulation]')].map(e => [e.dataset.simulation, e.textContent])"
    assert await browser.run(cells) == [[slug(0), "1/1"], [slug(1), "0/1"]]
    await browser.run("document.querySelector('.cell[data-simulation]').focus()")
    await browser.press("ArrowDown")
    assert await browser.run("document.activeElement.dataset.simulation") == slug(1)
    await browser.run("document.activeElement.click()")
    rows = "[...document.querySelectorAll('#rows .row')].map(e => e.textContent)"
    (row,) = await browser.run(rows)
    assert f"P 0 ({slug(1)})" in row


async def test_a_cause_shows_the_trials_that_fail_it_and_not_their_neighbours(
    tmp_path: Path, browser: Page
) -> None:
    report = made_up(2)
    passing, failing = report.conversations
    for number, one in enumerate((passing, failing), 1):
        one.simulation, one.id, one.trial = slug(0), f"run-1/{slug(0)}/{number}", number
    report.simulations, report.results = {slug(0): ("s0", "p0")}, {"run-1": {slug(0): "pf"}}
    fields: dict[str, Any] = {"severity": "major", "simulations": 1, "trials": 1, "scenarios": 1}
    report.clusters = [ReportCluster(id="k1", check="world", cause="wrong", members=[slug(0)], **fields)]
    file = tmp_path / "cause.html"
    file.write_text(page_of(report, report_page()), encoding="utf-8")
    await browser.open(file)
    assert await browser.run("document.getElementById('count').textContent") == "2 trials"
    await browser.run("document.querySelector('.cause button').click()")
    assert await browser.run("document.getElementById('count').textContent") == "1 trial"
    assert "fails world" in await browser.run("document.querySelector('#rows .row').textContent")


async def test_trials_are_counted_as_they_are_where_simulations_have_different_numbers(
    tmp_path: Path, browser: Page
) -> None:
    file = tmp_path / "uneven.html"
    for letters, told in (("pf", "up to 2 trials each"), ("p", "persona, 1 trial each")):
        report = made_up(2)
        report.trials, report.results = len(letters), {"run-1": {slug(0): letters, slug(1): "p"}}
        report.arms[0].rate.trials = 1 + len(letters)
        file.write_text(page_of(report, report_page()), encoding="utf-8")
        await browser.open(file)
        assert told in await browser.run("document.querySelector('#cases .head').textContent")
        count = f"2 simulations, {1 + len(letters)} trials)"
        assert count in await browser.run("document.querySelector('.cap').textContent")


async def test_a_link_to_what_is_not_in_the_file_says_so(tmp_path: Path, browser: Page) -> None:
    file = tmp_path / "one.html"
    file.write_text(page_of(made_up(1), report_page()), encoding="utf-8")
    await browser.open(file, "#run-1/elsewhere/1@2")
    told = await browser.run("document.querySelector('dialog[open]').textContent")
    assert "Not in this file" in told and "run-1/elsewhere/1" in told
    await browser.run("document.querySelector('dialog').close()")
    await browser.open(file, f"#run-1/{slug(0)}/1")
    assert await browser.run("document.getElementById('dlg-title').textContent") == "Case 0, P 0"


async def test_the_search_finds_words_as_they_are_shown(tmp_path: Path, browser: Page) -> None:
    file = tmp_path / "quotes.html"
    file.write_text(page_of(made_up(2, words='He said "yes".\\ Ok'), report_page()), encoding="utf-8")
    await browser.open(file)
    for words, count in (('said "yes".\\ ok', 2), ("differs_at", 0)):
        await browser.run(f"filter.text = {words!r}; list()")
        assert await browser.run("document.querySelectorAll('#rows .row').length") == count, words
