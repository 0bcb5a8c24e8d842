"""The package against a real server and a real worker: the binary that ``RIVERRUN_BINARY`` names."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import riverrun
from riverrun import aio
from riverrun.pipeline import Ret, pipeline_last_task, pipeline_run_continue, pipeline_task_result_save

BINARY = os.environ.get("RIVERRUN_BINARY")
pytestmark = pytest.mark.skipif(not BINARY, reason="RIVERRUN_BINARY names no riverrun binary")

TASKS = """
import pathlib
import time
import riverrun

@riverrun.task
def count(folder):
    path = pathlib.Path(folder) / "calls"
    with path.open("a") as calls:
        calls.write("x")
    return {"calls": len(path.read_text()), "big": 9007199254740993}

@riverrun.task
async def fails(why):
    raise LookupError(why)

@riverrun.task
def double(n: int) -> int:
    return n * 2

@riverrun.task
def wait(folder):
    (pathlib.Path(folder) / "begun").touch()
    while not (pathlib.Path(folder) / "gate").exists():
        time.sleep(0.01)
    return riverrun.current_context().attempt
"""


class House:
    """A server on a data folder and a worker on a folder of functions, both to be killed and started at will."""

    def __init__(self, folder: Path, tasks: str = TASKS) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        functions = folder / "functions"
        functions.mkdir()
        (functions / "tasks.py").write_text(tasks)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start_server()
        self.start("worker", str(functions), "--server", self.url)

    def start(self, *command: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RIVERRUN_")}
        log = (self.folder / f"{command[0]}.log").open("ab")
        self.processes[command[0]] = subprocess.Popen([str(BINARY), *command], env=environment, stdout=log, stderr=log)

    def start_server(self) -> None:
        # Tests may start tasks before the worker is there.
        listen = self.url.removeprefix("http://")
        self.start("server", "--data", str(self.folder / "data"), "--listen", listen, "--accept-unknown-tasks")
        self.until(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/healthz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def until(self, true: Any) -> None:
        end = time.monotonic() + 60
        while not true():
            logs = "".join(log.read_text() for log in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"nothing happened for a minute\n{logs}"
            time.sleep(0.01)

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            process.wait(60)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    riverrun.connect(house.url)
    aio.connect(house.url)
    yield house
    house.close()


def test_a_task_runs_and_its_result_comes_back(house: House) -> None:
    value = riverrun.run("count", {"folder": str(house.folder)}, kind="task", timeout=60)
    assert value == {"calls": 1, "big": 9007199254740993}
    handle = riverrun.start("fails", {"why": "流程"}, kind="task")
    with pytest.raises(riverrun.RunFailed) as caught:
        handle.result(timeout=60)
    assert (caught.value.type, caught.value.message) == ("LookupError", "流程")
    assert "in fails" in caught.value.details["traceback"]
    assert handle.status() == "failed"
    assert [run["definition"] for run in riverrun.connect(house.url).runs(definition="fails")] == ["fails"]
    assert any(entry["type"].endswith("Failed") for entry in handle.journal())


def test_a_handle_asks_waits_and_finds_its_run_again(house: House) -> None:
    @riverrun.task
    def double(n: int) -> int:
        return n * 2

    def knows() -> bool:
        with urllib.request.urlopen(house.url + "/v1/definitions", timeout=5) as answer:
            return b'"double"' in answer.read()

    house.until(knows)
    handle = double.submit(21)
    assert (handle.result(timeout=60), handle.status()) == (42, "succeeded")
    assert riverrun.get(handle.id).result() == 42

    async def awaited() -> Any:
        return await double.submit(4)

    assert asyncio.run(awaited()) == 8
    with pytest.raises(riverrun.ApiError) as caught:
        double.submit("21")  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.problem["parameter"]) == ("invalid_params", "n")
    assert "must be an integer, and is a string" in str(caught.value)


def test_a_thousand_callers_make_one_run(house: House) -> None:
    def call(_: int) -> Any:
        return riverrun.run("count", {"folder": str(house.folder)}, kind="task", continue_id="n-1", timeout=60)

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(call, range(1000))) == [{"calls": 1, "big": 9007199254740993}] * 1000
    again = riverrun.start("count", {"folder": str(house.folder)}, kind="task", continue_id="n-1")
    assert again.reused
    with pytest.raises(riverrun.ApiError) as caught:
        riverrun.start("count", {"folder": "other"}, kind="task", continue_id="n-1")
    assert (caught.value.status, caught.value.code) == (422, "key_mismatch")


def test_a_server_killed_in_the_middle_is_not_noticed(house: House) -> None:
    results: list[Any] = []
    caller = threading.Thread(
        target=lambda: results.append(riverrun.run("wait", {"folder": str(house.folder)}, kind="task", timeout=60))
    )
    caller.start()
    house.until((house.folder / "begun").exists)
    house.kill("server")
    (house.folder / "gate").touch()
    house.start_server()
    caller.join(60)
    # The first try: the worker kept the attempt over the crash and reported it to the new server.
    assert results == [1]


def test_a_running_task_can_be_cancelled(house: House) -> None:
    handle = riverrun.start("wait", {"folder": str(house.folder)}, kind="task")
    house.until((house.folder / "begun").exists)
    handle.cancel("enough")
    with pytest.raises(riverrun.RunCancelled):
        handle.result(timeout=60)


def test_the_pipeline_calls(house: House) -> None:
    async def story() -> None:
        args = {"folder": str(house.folder)}
        assert (await pipeline_last_task("nothing"))[0] == Ret.NO_TASK
        ret, first = await pipeline_run_continue("count", args, "p-1", kind="task")
        assert (ret, first["status"], first["reused"], first["output"]["calls"]) == (0, "SUCCESS", False, 1)
        ret, second = await pipeline_run_continue("count", args, "p-1", kind="task")
        assert (ret, second["task_id"], second["reused"], second["output"]) == (0, first["task_id"], True, first["output"])
        ret, last = await pipeline_last_task("count")
        assert (ret, last["task_id"]) == (0, first["task_id"])
        assert await pipeline_task_result_save(first["task_id"], 0, first) == 0
        ret, failed = await pipeline_run_continue("fails", {"why": "x"}, "p-2", kind="task")
        assert (ret, failed["status"], failed["error"]["type"]) == (Ret.FAILED, "FAILED", "LookupError")
        assert (await pipeline_run_continue("count", {"folder": ""}, "p-1", kind="task"))[0] == Ret.CONFLICT
        await aio.default_client().close()

    asyncio.run(story())


QUEUED = """
import riverrun

@riverrun.task
def slow(n):
    for at in range(n):
        riverrun.progress(at + 1, n, f"page {at + 1}")
    return n

@riverrun.task(retries={"max": 3, "interval": 60})
def busy(times):
    if riverrun.current_context().attempt < times:
        raise riverrun.Retry("busy", after=0.01)
    return riverrun.current_context().attempt

@riverrun.task
def total(numbers):
    return sum(numbers)
"""


def test_groups_chains_progress_and_retries(tmp_path: Path) -> None:
    named: dict[str, Any] = {}
    exec(QUEUED, named)
    slow, busy, total = named["slow"], named["busy"], named["total"]
    house = House(tmp_path, QUEUED)
    try:
        riverrun.connect(house.url)
        handle = slow.submit(3)
        assert handle.result(timeout=60) == 3
        assert handle.progress in ({"done": 1, "total": 3, "note": "page 1"}, {"done": 3, "total": 3, "note": "page 3"})
        assert busy.submit(3).result(timeout=60) == 3
        assert riverrun.group([slow.s(n) for n in range(5)], then=total.s()).submit().result(timeout=60) == 10
        assert riverrun.chain(slow.s(4), slow.s(), slow.s()).submit().result(timeout=60) == 4
        ids = slow.submit_many({"n": n} for n in range(50))
        assert [riverrun.get(run).result(timeout=60) for run in ids] == list(range(50))
    finally:
        house.close()


SAID = """
import pathlib
import riverrun

@riverrun.task(queue="mail", retries={"max": 2, "interval": 0.01})
def fails(folder):
    with (pathlib.Path(folder) / "fails").open("a") as calls:
        calls.write("x")
    raise LookupError("no")

@riverrun.task(at_most_once=True, retries=5)
def once(folder):
    with (pathlib.Path(folder) / "once").open("a") as calls:
        calls.write("x")
    raise LookupError("no")
"""


def test_what_the_decorator_says_holds_also_for_who_does_not_know_it(tmp_path: Path) -> None:
    house = House(tmp_path, SAID)

    def knows() -> bool:
        with urllib.request.urlopen(house.url + "/v1/definitions", timeout=5) as answer:
            return b'"once"' in answer.read()

    try:
        riverrun.connect(house.url)
        house.until(knows)
        for name, times in (("fails", 3), ("once", 1)):
            handle = riverrun.start(name, {"folder": str(tmp_path)}, kind="task")
            with pytest.raises(riverrun.RunFailed, match="no"):
                handle.result(timeout=60)
            assert (tmp_path / name).read_text() == "x" * times
            assert name == "once" or '"queue": "mail"' in json.dumps(list(handle.journal()))
        # What the start says goes before that.
        own = riverrun.start("fails", {"folder": str(tmp_path)}, kind="task", retries=0)
        with pytest.raises(riverrun.RunFailed):
            own.result(timeout=60)
        assert (tmp_path / "fails").read_text() == "xxxx"
    finally:
        house.close()
