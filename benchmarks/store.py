"""How fast the store is. `python benchmarks/store.py [documents]` prints one JSON object."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from caseharden.engine.store import Store, Table

INDEXES = ("run", "verdict", "scenario")
TRIAL_INDEXES = ("simulation", "scenario", "persona", "verdict", "failed_checks", "tags")


def main(count: int) -> dict[str, Any]:
    """Figures for a table of `count` documents: in microseconds (`_us`), milliseconds or seconds."""
    found: dict[str, Any] = {"benchmark": "store", "documents": count, "cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Store(home) as store:
            table = store.table("simulations", INDEXES)
            page(table, {"run": "run-0"})
            spent = [timed(lambda i=i: table.put(f"s{i}", document(i))) for i in range(count)]
            found["insert_mean_us"] = round(sum(spent) / count * 1e6, 1)
            found["insert_p99_us"] = round(quantiles(spent, n=100)[-1] * 1e6, 1)
            found["update_us"] = each(lambda i: table.put(f"s{i}", document(i + 1)), 1000)
            found["get_us"] = each(lambda i: table.find(f"s{i * 7 % count}"), 1000)
            found["page_us"] = each(lambda i: page(table, {"run": f"run-{i % 50}"}), 200)
            found["page_two_us"] = each(
                lambda i: page(table, {"run": f"run-{i % 50}", "verdict": "fail"}), 200
            )
            found["page_shown_us"] = each(lambda i: page(table, {"run": f"run-{i % 50}"}, show=shown), 200)
            found["append_us"] = each(lambda i: store.segments.append("run-1", conversation(i)), 500)
            found["flush_ms"] = round(timed(store.flush) * 1e3, 2)
        with Store(home) as store:
            table = store.table("simulations", INDEXES)
            found["open_s"] = round(timed(table.load), 3)
            found["first_page_ms"] = round(timed(lambda: page(table, {"run": "run-3"})) * 1e3, 2)
            found["compact_s"] = round(timed(table.journal.compact), 3)
            found["file_mb"] = round((home / "tables" / "simulations.jsonl").stat().st_size / 1e6, 1)
            found.update(queue(store, 2000))
            found.update(ended_jobs(store, count))
        with Store(home) as store:
            jobs = store.jobs
            found["jobs_open_s"] = round(timed(jobs.table.load), 3)
            found["look_for_orphans_us"] = each(lambda i: jobs.orphans(), 200)
            found["jobs_page_us"] = each(lambda i: jobs.page({"kind": "run"}), 200)
        with Store(home) as store:
            found.update(trials(store, count))
        with Store(home) as store:
            table = store.run_table("run-1", "trials", TRIAL_INDEXES)
            failed = {"verdict": "fail"}
            found["trials_open_s"] = round(timed(lambda: page(table, failed, show=shown)), 3)
            found["trials_other_indexes_s"] = round(timed(table.load), 3)
            found["trials_page_us"] = each(lambda i: page(table, {"verdict": "fail"}, show=shown), 200)
    return found


def ended_jobs(store: Store, count: int) -> dict[str, Any]:
    """As many jobs as a busy year leaves, in lots of a thousand."""
    job, _ = store.jobs.create("run", {"environment": "support", "select": ["all"]}, environment="support")
    store.jobs.mark(job.id, "done", result={"run": "run-1"})
    row = dict(store.jobs.table.fetch(job.id))
    for start in range(0, count, 1000):
        store.jobs.table.put_many(
            {f"old-{n}": {**row, "id": f"old-{n}", "key": f"k{n}"} for n in range(start, start + 1000)}
        )
    return {"jobs": len(store.jobs.table), "job_bytes": len(json.dumps(row))}


def trials(store: Store, count: int) -> dict[str, Any]:
    """The trials of one run as they are stored."""
    table = store.run_table("run-1", "trials", TRIAL_INDEXES)
    page(table, {"verdict": "fail"})
    spent = [timed(lambda i=i: table.put(f"s{i}/1", trial(i))) for i in range(count)]
    return {
        "trial_bytes": len(json.dumps(trial(1))),
        "trial_insert_mean_us": round(sum(spent) / count * 1e6, 1),
    }


def queue(store: Store, units: int) -> dict[str, Any]:
    """What a unit of a job costs: put in, claimed in tens, answered."""
    job, _ = store.jobs.create("run", {})
    work = store.jobs.work
    put_in = timed(lambda: work.enqueue(job.id, ({"n": i} for i in range(units))))
    found: dict[str, Any] = {"enqueue_us": round(put_in / units * 1e6, 1)}
    answered: list[float] = []
    started = time.perf_counter()
    while claimed := work.claim(job.id, 10):
        answered += [timed(lambda unit=unit: work.complete(unit, {"ok": True})) for unit in claimed]
    found["unit_us"] = round((time.perf_counter() - started) / units * 1e6, 1)
    found["complete_median_us"] = round(median(answered) * 1e6, 1)
    return found


def page(table: Table, where: dict[str, Any], **how: Any) -> object:
    return table.page(where, 20, **how)


def shown(row: dict[str, Any], id: str) -> dict[str, Any]:
    """What a list says of a document."""
    return {"id": id, "verdict": row["verdict"], "turns": row["turns"]}


def document(i: int) -> dict[str, Any]:
    """A simulation's row of about 220 bytes."""
    return {
        "run": f"run-{i % 50}",
        "scenario": f"scenario-{i % 240}",
        "persona": f"persona-{i % 60}",
        "verdict": ("pass", "pass", "fail")[i % 3],
        "turns": i % 12,
        "cost_usd": None,
        "seed": i,
        "conversation": f"run-{i % 50}/0123456789abcdef:{i * 4000}:4000",
    }


def trial(i: int) -> dict[str, Any]:
    """The row of a trial as a run keeps it; its conversation and its verdict lie in a segment."""
    pointer = f"run-1/0123456789abcdef:{i * 4000}:4000:0123abcd"
    return {
        **document(i),
        "format": "trial/1",
        "id": f"scenario-{i % 240}-dana/{i}",
        "simulation": f"scenario-{i % 240}-dana",
        "split": "train",
        "failed_checks": ["check-1"] if i % 3 == 2 else [],
        "tags": ["refund", "voucher"],
        "end": "user_stop",
        "error": "",
        "transcript_hash": "0123456789abcdef" * 4,
        "models": {role: {"name": "offline", "calls": 3, "cost_usd": 0.0} for role in ("agent", "user")},
        "pointer": {"at": pointer, "graded": [pointer]},
    }


def conversation(i: int) -> dict[str, Any]:
    """A conversation of about 4 kB."""
    return {"n": i, "log": [{"turn": t, "user": "x" * 150, "agent": "y" * 150} for t in range(12)]}


def each(act: Callable[[int], object], times: int) -> float:
    return round(median(timed(lambda i=i: act(i)) for i in range(times)) * 1e6, 1)


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000), indent=1))
