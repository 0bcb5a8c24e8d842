"""The workloads as a Restate service, for hypercorn: `hypercorn restate_service:app`."""

import datetime
import os
import time

import restate

bench = restate.Service("bench")


@bench.handler()
async def steps(ctx: restate.Context, count: int) -> int:
    """So many durable steps, one after another."""
    total = 0
    for number in range(count):

        async def step() -> dict:
            return {"i": 1}

        total += (await ctx.run_typed(f"s{number}", step))["i"]
    return total


@bench.handler()
async def marks(ctx: restate.Context, request: list) -> int:
    """Three steps that note each of their executions in a file."""
    key, path = request
    for number in range(3):

        async def step(number: int = number) -> dict:
            file = os.open(path, os.O_APPEND | os.O_WRONLY | os.O_CREAT)
            os.write(file, f"{key}:{number}\n".encode())
            os.close(file)
            return {"i": 1}

        await ctx.run_typed(f"s{number}", step)
    return int(key)


@bench.handler()
async def noop(ctx: restate.Context, number: int) -> dict:
    """A task that does nothing."""
    return {"i": number}


@bench.handler()
async def nap(ctx: restate.Context, milliseconds: int) -> float:
    """Sleeps durably; the answer says by how many milliseconds it was late."""

    async def clock() -> float:
        return time.time()

    began = await ctx.run_typed("clock", clock)
    await ctx.sleep(datetime.timedelta(milliseconds=milliseconds))
    return (time.time() - began) * 1000 - milliseconds


app = restate.app([bench])
