"""Tasks for the queue."""

import os
import time

import riverrun


@riverrun.task
def noop(i: int = 0) -> dict[str, int]:
    return {"i": i}


@riverrun.task
def clock() -> float:
    return time.time()


@riverrun.task
def late(due: float) -> None:
    file = os.open(os.environ["BENCH_MARKS"], os.O_APPEND | os.O_WRONLY | os.O_CREAT)
    os.write(file, f"{(time.time() - due) * 1e3:.3f}\n".encode())
    os.close(file)
