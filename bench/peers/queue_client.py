"""The client of a task queue, in Python as its users have it: `queue_client.py riverrun|rq|celery URL`.

It takes one command as a line of JSON on stdin, does it, and answers with a line of JSON. Its processor time is part of each answer.
"""

import json
import os
import sys
import time
from typing import Any

system, url = sys.argv[1:3]


class Celery:
    """Celery; the result backend keeps one key with a time to live for each task that has ended."""

    def __init__(self) -> None:
        os.environ["BENCH_REDIS"] = url
        import celery_tasks
        import redis
        from celery import group

        self.tasks, self.group = celery_tasks, group
        self.redis = redis.Redis.from_url(url)

    def enqueue(self, count: int) -> None:
        for number in range(count):
            self.tasks.noop.apply_async((number,))

    def enqueue_bulk(self, count: int, size: int) -> None:
        # A group sends its tasks one by one over one connection of the pool; Celery has no other way for many.
        for first in range(0, count, size):
            self.group(self.tasks.noop.s(number) for number in range(first, min(first + size, count))).apply_async()

    def enqueue_late(self, due: list[float], path: str) -> None:
        from datetime import datetime, timezone

        for moment in due:
            eta = datetime.fromtimestamp(moment, timezone.utc)
            self.tasks.late.apply_async((moment, path), eta=eta)

    def ended(self) -> int:
        return int(self.redis.info("keyspace").get("db0", {}).get("expires", 0))

    def waiting(self) -> int:
        return int(self.redis.llen("celery"))

    def clock(self) -> float:
        return float(self.tasks.clock.apply_async().get(timeout=60))


class Rq:
    """RQ; the registry of finished jobs counts those that have ended."""

    def __init__(self) -> None:
        import redis
        import rq
        import rq_tasks
        from rq.registry import FinishedJobRegistry

        self.tasks, self.rq = rq_tasks, rq
        self.redis = redis.Redis.from_url(url)
        self.queue = rq.Queue(connection=self.redis)
        self.finished = FinishedJobRegistry(queue=self.queue)

    def enqueue(self, count: int) -> None:
        for number in range(count):
            self.queue.enqueue(self.tasks.noop, number)

    def enqueue_bulk(self, count: int, size: int) -> None:
        for first in range(0, count, size):
            numbers = range(first, min(first + size, count))
            self.queue.enqueue_many([self.rq.Queue.prepare_data(self.tasks.noop, (number,)) for number in numbers])

    def enqueue_late(self, due: list[float], path: str) -> None:
        from datetime import datetime, timezone

        for moment in due:
            self.queue.enqueue_at(datetime.fromtimestamp(moment, timezone.utc), self.tasks.late, moment, path)

    def ended(self) -> int:
        return int(self.redis.zcard(self.finished.key))

    def waiting(self) -> int:
        return int(self.redis.llen(self.queue.key))

    def clock(self) -> float:
        result = self.queue.enqueue(self.tasks.clock).latest_result(timeout=60)
        return float(result.return_value)


class Riverrun:
    """Riverrun, by the client of its Python package."""

    def __init__(self) -> None:
        import riverrun

        self.client = riverrun.connect(url)

    def enqueue(self, count: int) -> None:
        for number in range(count):
            self.client.start("noop", {"i": number}, kind="task")

    def enqueue_bulk(self, count: int, size: int) -> None:
        for first in range(0, count, size):
            numbers = range(first, min(first + size, count))
            self.client.start_many([{"definition": "noop", "kind": "task", "input": {"i": number}} for number in numbers])

    def clock(self) -> float:
        return float(self.client.run("clock", {}, kind="task", timeout=60))


def do_enqueue(command: dict[str, Any]) -> None:
    """So many tasks that do nothing, one by one or in pieces of a size."""
    size = command["bulk"]
    if size:
        queue.enqueue_bulk(command["count"], size)
    else:
        queue.enqueue(command["count"])


def do_wait(command: dict[str, Any]) -> dict[str, Any]:
    """Until so many tasks have ended altogether. Looked for seldom, so that looking costs nothing."""
    while queue.ended() < command["ended"]:
        time.sleep(0.02)
    return {"ended": queue.ended()}


def do_count(_: dict[str, Any]) -> dict[str, Any]:
    """What stands in Redis."""
    return {"ended": queue.ended(), "waiting": queue.waiting(), "memory": queue.redis.info("memory")["used_memory"]}


def do_late(command: dict[str, Any]) -> None:
    """Tasks that note how late they are."""
    queue.enqueue_late(command["due"], command["path"])


def do_pickup(command: dict[str, Any]) -> dict[str, Any]:
    """One task after another, with a pause before each in which nothing goes on."""
    begun, answered = [], []
    for _ in range(command["count"]):
        time.sleep(command["pause_s"])
        sent = time.time()
        began = queue.clock()
        answered.append((time.time() - sent) * 1e3)
        begun.append((began - sent) * 1e3)
    return {"begun_ms": begun, "answered_ms": answered}


queue: Any = {"riverrun": Riverrun, "rq": Rq, "celery": Celery}[system]()
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    start, cpu = time.perf_counter(), time.process_time()
    answer = globals()["do_" + asked["do"]](asked) or {}
    print(json.dumps({**answer, "wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}), flush=True)
