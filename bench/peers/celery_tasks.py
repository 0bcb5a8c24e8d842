"""The tasks as a Celery application on Redis, for `celery -A celery_tasks worker` and for the client."""

import os
import time

from celery import Celery

url = os.environ["BENCH_REDIS"]
app = Celery("celery_tasks", broker=url, backend=url)
app.conf.update(
    # What a worker that is killed had in hand is executed again, as Riverrun's is.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    broker_connection_retry_on_startup=True,
)


@app.task
def noop(i: int = 0) -> dict:
    return {"i": i}


@app.task
def clock() -> float:
    return time.time()


@app.task
def late(due: float, path: str) -> None:
    from marks import note

    note(path, due)
