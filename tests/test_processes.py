"""Processes of others: only allowed files, no shell, none of our keys, deadlines and caps, and nothing left behind."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import InvalidArgument, NotAllowed, NotFound
from caseharden.engine.processes import (
    AllowedCode,
    Answered,
    Command,
    Crashed,
    Limits,
    NotStarted,
    ProcessError,
    Processes,
    TimedOut,
    TooMuch,
    python_worker,
)
from caseharden.tests.their_program import ECHO, running, talking, written

pytestmark = pytest.mark.anyio


async def test_many_questions_are_answered_each_with_its_own_answer(tmp_path: Path) -> None:
    backwards = """
        import json, sys
        asked = [json.loads(sys.stdin.readline()) for _ in range(20)]
        for one in reversed(asked):
            print(json.dumps({"id": one["id"], "said": one["say"]}), flush=True)
        sys.stdin.read()
    """
    said: dict[int, Any] = {}
    async with talking(tmp_path, backwards) as talk, anyio.create_task_group() as tasks:

        async def ask(k: int) -> None:
            said[k] = await talk.ask({"say": f"{k} \u2028 ä"}, 20)

        for k in range(20):
            tasks.start_soon(ask, k)
    assert said == {k: {"said": f"{k} \u2028 ä"} for k in range(20)}


async def test_noise_on_standard_output_is_no_answer_and_is_told_when_it_fails(tmp_path: Path) -> None:
    noisy = """
        import json, sys
        asked = json.loads(sys.stdin.readline())
        print("loading the model"); print("[1]"); print('{"level": "info"}'); print('{"id": 999, "said": "forged"}')
        print("{" * 100000)
        print(json.dumps({"id": asked["id"], "said": "hello"}), flush=True)
        sys.stdin.readline()
        print("giving up"); sys.exit(3)
    """
    async with talking(tmp_path, noisy) as talk:
        assert await talk.ask({"say": "hi"}, 20) == {"said": "hello"}
        with pytest.raises(Crashed, match=r"^ended with status 3; its output: .*giving up$"):
            await talk.ask({"say": "hi"}, 20)
        with pytest.raises(Crashed):
            await talk.ask({"say": "hi"}, 20)


async def test_what_a_process_asks_us_is_answered_and_is_no_answer(tmp_path: Path) -> None:
    asking = """
        import json, sys
        asked = json.loads(sys.stdin.readline())
        for method in ("ping", "roots/list"):
            print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "method": method}), flush=True)
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message"}), flush=True)
        told = [json.loads(sys.stdin.readline()) for _ in range(2)]
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"told": told}}), flush=True)
        sys.stdin.read()
    """
    async with talking(tmp_path, asking) as talk:
        pong, refused = (await talk.ask({"jsonrpc": "2.0", "method": "tools/call"}, 20))["result"]["told"]
    assert pong == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert (refused["id"], refused["error"]["code"]) == (1, -32601)


async def test_a_process_that_asks_while_nobody_asks_it_is_answered_too(tmp_path: Path) -> None:
    idle = f"""
        import pathlib, sys
        print('{{"jsonrpc": "2.0", "id": 7, "method": "ping"}}', flush=True)
        pathlib.Path({str(tmp_path / "pong")!r}).write_text(sys.stdin.readline())
        sys.stdin.read()
    """
    async with talking(tmp_path, idle):
        while not (tmp_path / "pong").exists() or not (tmp_path / "pong").read_text():
            await anyio.sleep(0.01)
    assert json.loads((tmp_path / "pong").read_text()) == {"jsonrpc": "2.0", "id": 7, "result": {}}


async def test_a_crash_is_told_with_the_end_of_standard_error(tmp_path: Path) -> None:
    broken = """
        import sys
        sys.stdin.readline()
        sys.stderr.write("x" * 100000 + "\\n\\x1b[31mthe reason\\n")
        raise SystemExit(7)
    """
    async with talking(tmp_path, broken) as talk:
        with pytest.raises(
            Crashed, match=r"^ended with status 7; its stderr: \.\.\.x+ \| the reason$"
        ) as raised:
            await talk.ask({}, 20)
    assert len(str(raised.value)) < 700


async def test_a_signal_that_ended_it_is_named(tmp_path: Path) -> None:
    async with talking(tmp_path, "import os; os.kill(os.getpid(), 9)") as talk:
        with pytest.raises(Crashed, match=r"^was ended by signal 9"):
            await talk.ask({}, 20)


async def test_no_answer_before_the_deadline_is_a_timeout_and_other_questions_go_on(tmp_path: Path) -> None:
    deaf = """
        import json, sys
        for line in sys.stdin:
            asked = json.loads(line)
            if asked["say"] != "nothing":
                print(json.dumps({"id": asked["id"]}), flush=True)
    """
    async with talking(tmp_path, deaf) as talk:
        with pytest.raises(TimedOut, match=r"^gave no answer within 0\.05 s"):
            await talk.ask({"say": "nothing"}, 0.05)
        assert talk.waiting == 0
        assert await talk.ask({"say": "something"}, 20) == {}


async def test_a_process_that_reads_nothing_holds_nobody_beyond_the_deadline(tmp_path: Path) -> None:
    async with talking(tmp_path, "import time; time.sleep(600)") as talk:
        with pytest.raises(TimedOut):
            await talk.ask({"say": "x" * 5_000_000}, 0.2)
        with pytest.raises(TimedOut):
            await talk.ask({"say": "x"}, 0.05)


@pytest.mark.parametrize("end", ["", "\\n"])
async def test_an_answer_over_the_cap_ends_the_process(tmp_path: Path, end: str) -> None:
    huge = f"""
        import sys
        sys.stdin.readline()
        sys.stdout.write("x" * 300000 + "{end}"); sys.stdout.flush()
        sys.stdin.read()
    """
    async with talking(tmp_path, huge, Limits(line_bytes=200_000)) as talk:
        with pytest.raises(TooMuch, match="longer than 200,000 bytes"):
            await talk.ask({}, 20)
        with pytest.raises(TooMuch):
            await talk.ask({}, 20)


async def test_an_error_that_it_tells_is_quoted_in_one_line(tmp_path: Path) -> None:
    failing = """
        import json, sys
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps({"id": asked["id"], "error": asked["error"]}), flush=True)
    """
    async with talking(tmp_path, failing) as talk:
        with pytest.raises(Answered, match=r"^raised KeyError: a b$") as raised:
            await talk.ask({"error": {"kind": "KeyError", "text": "a\nb"}}, 20)
        assert raised.value.kind == "KeyError"
        with pytest.raises(Answered, match=r"^failed: no money$"):
            await talk.ask({"error": "no money"}, 20)
        with pytest.raises(Answered, match="does not say why"):
            await talk.ask({"error": {}}, 20)


async def test_what_it_started_is_ended_with_it_also_in_other_sessions(tmp_path: Path) -> None:
    async with talking(tmp_path, BREEDING) as talk:
        pids: list[int] = (await talk.ask({}, 20))["pids"]
        assert all(running(pid) for pid in pids)
        await talk.stop()
        assert not any(running(pid) for pid in pids)
        with pytest.raises(Crashed):
            await talk.ask({}, 20)


async def test_what_it_started_is_ended_when_it_ends_by_itself(tmp_path: Path) -> None:
    async with talking(tmp_path, BREEDING) as talk:
        pids: list[int] = (await talk.ask({}, 20))["pids"]
        with pytest.raises(Crashed, match="status 0"):
            await talk.ask({}, 20)
        await talk.stop()
        assert not any(running(pid) for pid in pids)


async def test_nothing_is_left_after_cancellation(tmp_path: Path) -> None:
    pids: list[int] = []
    with anyio.CancelScope() as scope:
        async with talking(tmp_path, BREEDING) as talk:
            pids += (await talk.ask({}, 20))["pids"]
            scope.cancel()
            await talk.ask({}, 20)
    assert scope.cancelled_caught
    assert len(pids) == 4 and not any(running(pid) for pid in pids)


def test_nothing_is_left_when_we_are_killed(tmp_path: Path) -> None:
    program = tmp_path / "ours.py"
    program.write_text(OURS, encoding="utf-8")
    (tmp_path / "theirs.py").write_text(BREEDING, encoding="utf-8")
    ours = subprocess.Popen([sys.executable, str(program), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert ours.stdout
    with ours.stdout:
        handles = [os.pidfd_open(int(pid)) for pid in ours.stdout.readline().split()]
    ours.kill()
    ours.wait()
    for handle in handles:
        ready, _, _ = select.select([handle], [], [], 30)
        os.close(handle)
        assert ready
    assert len(handles) == 4


async def test_it_sees_none_of_our_keys_and_a_home_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you-0123456789")
    monkeypatch.setenv("SHOP_URL", "http://127.0.0.1:1")
    telling = """
        import json, os, sys
        for line in sys.stdin:
            open(os.path.expanduser("~/kept"), "w").write("x")
            told = {"id": json.loads(line)["id"], "env": dict(os.environ), "cwd": os.getcwd()}
            told["fds"] = os.listdir("/proc/self/fd")
            print(json.dumps(told), flush=True)
    """
    file = written(tmp_path, telling)
    allowed = AllowedCode([tmp_path], env=["SHOP_URL"])
    async with Processes() as processes:
        talk = await processes.start(allowed.command(["python", file], "argv"))
        told = await talk.ask({}, 20)
    assert "sk-not-for-you" not in str(told)
    ours = {"CASEHARDEN_DEPTH", "LC_CTYPE"}
    assert set(told["env"]) - ours <= {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "SHOP_URL"}
    assert told["env"]["CASEHARDEN_DEPTH"] == "1"
    assert told["env"]["SHOP_URL"] == "http://127.0.0.1:1"
    assert told["cwd"] == str(tmp_path)
    assert len(told["fds"]) == 4, "its three streams and the folder being listed"
    assert told["env"]["HOME"] != os.environ.get("HOME") and not Path(told["env"]["HOME"]).exists()


async def test_writing_and_memory_are_limited(tmp_path: Path) -> None:
    greedy = """
        import json, os, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        told = {"id": json.loads(sys.stdin.readline())["id"], "seen": []}
        try:
            with open(os.path.expanduser("~/big"), "wb") as file:
                for _ in range(64):
                    file.write(b"x" * (1 << 20))
        except OSError as error:
            told["seen"].append(error.strerror)
        try:
            bytes(4 << 30)
        except MemoryError:
            told["seen"].append("memory")
        print(json.dumps(told), flush=True)
        sys.stdin.read()
    """
    limits = Limits(memory_bytes=2 << 30, file_bytes=8 << 20)
    async with talking(tmp_path, greedy, limits) as talk:
        assert (await talk.ask({}, 20))["seen"] == ["File too large", "memory"]


async def test_arguments_are_passed_as_they_are(tmp_path: Path) -> None:
    telling = """
        import json, sys
        for line in sys.stdin:
            print(json.dumps({"id": json.loads(line)["id"], "argv": sys.argv[1:]}), flush=True)
    """
    file = written(tmp_path, telling)
    given = ["; rm -rf /", "$(id)", "`id`", "a b", "*", "", "-c", "é"]
    async with Processes() as processes:
        talk = await processes.start(AllowedCode([tmp_path]).command(["python3", file, *given], "argv"))
        assert (await talk.ask({}, 20))["argv"] == given


async def test_an_executable_file_runs_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "agent"
    file.write_text(f"#!{sys.executable}\n{ECHO}", encoding="utf-8")
    allowed = AllowedCode([tmp_path])
    with pytest.raises(NotAllowed, match="is not executable"):
        allowed.command(["agent"], "argv")
    file.chmod(0o700)
    async with Processes() as processes:
        talk = await processes.start(allowed.command(["agent"], "argv"))
        assert await talk.ask({"say": "hi"}, 20) == {"said": "hi"}


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/bin/sh", "-c", "id"], "outside the folders of --allow-code"),
        (["sh", "-c", "id"], "may only run a file below the folders of --allow-code"),
        (["python"], "may only run a file"),
        (["python", "-m", "http.server"], "may only run a file"),
        (["python", "../outside.py"], "outside the folders of --allow-code"),
        (["python", "link.py"], "outside the folders of --allow-code"),
        (["tar", "inside.py"], "There is no file `tar`"),
        (["python", "insid.py"], "Did you mean `inside.py`"),
        ([], "A command is a list of texts"),
        (["python", "inside.py", "\0"], "A command is a list of texts"),
        (["python", "in\0side.py"], "A command is a list of texts"),
    ],
)
def test_only_files_below_an_allowed_folder_run(tmp_path: Path, argv: list[str], told: str) -> None:
    inside = tmp_path / "allowed"
    inside.mkdir()
    (tmp_path / "outside.py").write_text("", encoding="utf-8")
    (inside / "inside.py").write_text("", encoding="utf-8")
    (inside / "link.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises((NotAllowed, NotFound, InvalidArgument), match=told) as raised:
        AllowedCode([inside]).command(argv, "agent.argv")
    assert str(raised.value.where).startswith("agent.argv")


def test_without_an_allowed_folder_the_refusal_names_the_flag(tmp_path: Path) -> None:
    file = written(tmp_path, ECHO)
    with pytest.raises(NotAllowed, match="--allow-code DIR"):
        AllowedCode().file(file, "agent.file")
    with pytest.raises(NotAllowed, match="--allow-code DIR"):
        AllowedCode().command(["python", file], "agent.argv")


async def test_a_program_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    async with Processes() as processes:
        with pytest.raises(NotStarted, match="cannot be started"):
            await processes.start(Command(("/bin/true",), tmp_path / "none", {}))
        talk = await processes.start(Command(("/nowhere/program",), tmp_path, {}))
        with pytest.raises(Crashed, match="status 127; its stderr: cannot start /nowhere/program"):
            await talk.ask({}, 20)


async def test_a_worker_serves_threads_and_coroutines_and_keeps_prints_apart(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.py"
    theirs.write_text(
        "import beside, os\nprint('loaded')\nos.system('echo from below')\nNAME = beside.NAME\n",
        encoding="utf-8",
    )
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n", encoding="utf-8")
    service = tmp_path / "service.py"
    service.write_text(SERVICE, encoding="utf-8")
    allowed = AllowedCode([tmp_path])
    file = allowed.file("theirs.py", "agent.file")
    for kind in ("Sync", "Async"):
        async with Processes() as processes:
            talk = await processes.start(python_worker(allowed, service, {"kind": kind}, file))
            assert await talk.ask({"say": "hi"}, 20) == {"name": "beside", "said": "hi"}
            with pytest.raises(Answered, match="raised ValueError: no"):
                await talk.ask({"fail": "ValueError"}, 20)
            with pytest.raises(Answered, match="raised SystemExit: 3"):
                await talk.ask({"fail": "SystemExit"}, 20)
            with pytest.raises(ProcessError, match=r"not JSON serializable"):
                await talk.ask({"odd": True}, 20)
            with pytest.raises(TimedOut, match=r"loaded \| from below"):
                await talk.ask({"hang": True}, 0.1)
            assert await talk.ask({"say": "still there"}, 20) == {"name": "beside", "said": "still there"}


BREEDING = """
import json, os, subprocess, sys
hang = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
asked = json.loads(sys.stdin.readline())
command = [sys.executable, "-c", hang]
children = [subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=k > 0) for k in range(2)]
for child in children:
    child.stdout.readline()
inner = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(inner[1], str(os.getpid()).encode() + b" ")
        import time
        time.sleep(600)
    os._exit(0)
os.wait()
pids = [os.getpid(), *(c.pid for c in children), int(os.read(inner[0], 100))]
print(json.dumps({"id": asked["id"], "pids": pids}), flush=True)
sys.stdin.readline()
"""
OURS = """
import sys
from pathlib import Path
import anyio
from caseharden.engine.processes import AllowedCode, Processes

async def main():
    async with Processes() as processes:
        talk = await processes.start(AllowedCode([sys.argv[1]]).command(["python", "theirs.py"], "argv"))
        print(*(await talk.ask({}, 60))["pids"], flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""
SERVICE = """
import asyncio, time

class Both:
    def __init__(self, module):
        self.module = module

    def told(self, asked):
        if "fail" in asked:
            raise ValueError("no") if asked["fail"] == "ValueError" else SystemExit(3)
        return {"odd": object()} if "odd" in asked else {"name": self.module.NAME, "said": asked["say"]}

class Sync(Both):
    def answer(self, asked):
        print("asked")
        if "hang" in asked:
            time.sleep(600)
        return self.told(asked)

class Async(Both):
    async def answer(self, asked):
        if "hang" in asked:
            await asyncio.sleep(600)
        return self.told(asked)

def open_service(settings, load):
    return {"Sync": Sync, "Async": Async}[settings["kind"]](load(settings["file"], "theirs"))
"""
