"""The workloads as a DBOS application on SQLite.

DBOS runs inside the application's process, so this process is client, engine and worker in one. It takes one command as a line of JSON
on stdin, does it, and answers with a line of JSON. The argument is the folder for its database.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID

folder = Path(sys.argv[1])
config: DBOSConfig = {
    "name": "bench",
    "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
    "log_level": "ERROR",
    "console_log_level": "ERROR",
    "application_version": "v1",
    "executor_id": "local",
}


@DBOS.step()
def step() -> dict:
    return {"i": 1}


@DBOS.workflow()
def steps(count: int) -> int:
    return sum(step()["i"] for _ in range(count))


@DBOS.workflow()
def noop(number: int) -> dict:
    return {"i": number}


@DBOS.step()
async def clock() -> float:
    return time.time()


@DBOS.workflow()
async def nap(seconds: float) -> float:
    began = await clock()
    await DBOS.sleep_async(seconds)
    return time.time() - began - seconds


@DBOS.step()
def mark(key: int, number: int, path: str) -> dict:
    file = os.open(path, os.O_APPEND | os.O_WRONLY | os.O_CREAT)
    os.write(file, f"{key}:{number}\n".encode())
    os.close(file)
    return {"i": 1}


@DBOS.workflow()
def marks(key: int, path: str) -> int:
    for number in range(3):
        mark(key, number, path)
    return key


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def do_steps(command: dict) -> dict:
    """Runs of so many steps from so many threads."""
    start = time.perf_counter()
    with ThreadPoolExecutor(command["clients"]) as clients:
        one = lambda _: timed(lambda: steps(command["steps"]))
        latencies = list(clients.map(one, range(command["count"])))
    return {"wall_s": time.perf_counter() - start, "latencies_ms": latencies}


def do_tasks(command: dict) -> dict:
    """Enqueues tasks and waits for all."""
    start = time.perf_counter()
    with ThreadPoolExecutor(8) as clients:
        handles = list(clients.map(lambda number: queue.enqueue(noop, number), range(command["count"])))
    enqueued = time.perf_counter() - start
    for handle in handles:
        handle.get_result(polling_interval_sec=0.05)
    return {"enqueue_s": enqueued, "wall_s": time.perf_counter() - start}


def do_naps(command: dict) -> dict:
    """Starts sleepers, and waits for all."""

    async def drive() -> dict:
        start = time.perf_counter()
        gate = asyncio.Semaphore(64)

        async def begin() -> object:
            async with gate:
                return await DBOS.start_workflow_async(nap, command["seconds"])

        handles = await asyncio.gather(*[begin() for _ in range(command["count"])])
        started = time.perf_counter() - start
        late = [await handle.get_result() * 1e3 for handle in handles]
        return {"start_s": started, "late_ms": late}

    return asyncio.run(drive())


def do_marks(command: dict) -> dict:
    """Keyed runs of three marking steps; the key of each that has ended goes to a file."""
    done = os.open(command["done"], os.O_APPEND | os.O_WRONLY | os.O_CREAT)

    def one(key: int) -> None:
        with SetWorkflowID(f"w5-{key}"):
            assert marks(key, command["marks"]) == key
        os.write(done, f"{key}\n".encode())

    with ThreadPoolExecutor(64) as clients:
        list(clients.map(one, range(command["count"])))
    return {}


DBOS(config=config)
DBOS.launch()
queue = DBOS.register_queue("bench", worker_concurrency=100, polling_interval_sec=0.05)
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(globals()["do_" + asked["do"]](asked)), flush=True)
sys.stdout.flush()
os._exit(0)
