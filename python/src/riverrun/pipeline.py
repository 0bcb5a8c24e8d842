"""Pipelines with a memory: six ``async`` calls in the form ``ret, result``.

A pipeline is a definition on a Riverrun server, its task one run of it. ``pipeline_run_continue`` can be repeated: if the work
was done under its ``continue_id``, it gives the stored result; if it is being done, it waits for it; if not, it does it. Key,
run and first step are one commit before any work begins, and the result is stored in the commit that ends the run.

``ret`` is 0 only when the work succeeded; :class:`Ret` names the other codes. Where a call's own work is not that of the
pipeline (starting it, finding its last task, confirming what is stored), 0 says that this was done; ``result["status"]``
tells how the task stands.

``result`` has the keys ``task_id``, ``pipeline_id``, ``status``, ``continue_id``, ``reused``, ``attached``, ``generation``,
``created_at``, ``started_at``, ``ended_at``, and ``output`` or ``error`` (``type``, ``message``, ``details``). Where there is
no task to speak of, ``result`` has only ``status`` and ``error``. No call raises for what a server or a network does.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any

from . import _requests as requests
from . import aio
from ._errors import ApiError, InvalidJson, ResultTimeout, RiverrunError, Unreachable
from .canonical import canonical

__all__ = [
    "Ret",
    "pipeline_last_task",
    "pipeline_run",
    "pipeline_run_continue",
    "pipeline_task_result",
    "pipeline_task_result_get",
    "pipeline_task_result_save",
]


class Ret(IntEnum):
    """What ``ret`` says."""

    OK = 0
    """Done."""
    NO_TASK = 1
    """The pipeline has no task yet, or there is no task of that id."""
    RUNNING = 2
    """The task has not ended."""
    FAILED = 3
    """The task has failed."""
    TIMED_OUT = 4
    """The task was ended by its time limit."""
    CANCELLED = 5
    """The task was cancelled."""
    EXPIRED = 6
    """The task was not started within its time to live."""
    UNREACHABLE = 7
    """The server cannot be reached or cannot answer. Whether anything was done is not known; asking again is safe."""
    REFUSED = 8
    """The server refuses: unknown pipeline, bad arguments, no access. ``result["error"]["type"]`` has its code."""
    CONFLICT = 9
    """The ``continue_id`` belongs to other arguments or must not be run now; or the result to save is not what is stored."""
    PURGED = 10
    """The work was done under this ``continue_id``, and its result is kept no longer."""


_CODES = {
    "succeeded": Ret.OK,
    "failed": Ret.FAILED,
    "timed_out": Ret.TIMED_OUT,
    "cancelled": Ret.CANCELLED,
    "expired": Ret.EXPIRED,
}


async def pipeline_run(pipeline_id: str, args: Any, **options: Any) -> tuple[int, dict[str, Any]]:
    """Starts a task and does not wait for it. 0: it was started, ``result["task_id"]`` is its id.

    Args:
        pipeline_id: the definition's name.
        args: its input, a JSON value.
        options: those of :func:`riverrun.start`.
    """

    async def work() -> tuple[int, dict[str, Any]]:
        handle = await aio.start(pipeline_id, args, **options)
        return Ret.OK, _result(handle.info)

    return await _guarded(work)


async def pipeline_task_result(task_id: str, timeout: float | None = None) -> tuple[int, dict[str, Any]]:
    """Waits for a task's end and gives its result.

    Args:
        task_id: the task.
        timeout: how long to wait, in seconds; then :attr:`Ret.RUNNING`. None waits for ever.
    """

    async def work() -> tuple[int, dict[str, Any]]:
        handle = await aio.get(task_id)
        return await _ended(handle, None if timeout is None else time.monotonic() + timeout, timeout)

    return await _guarded(work)


async def pipeline_last_task(pipeline_id: str) -> tuple[int, dict[str, Any]]:
    """The newest task of a pipeline, however it stands. 0: there is one."""

    async def work() -> tuple[int, dict[str, Any]]:
        async for run in aio.default_client().runs(definition=pipeline_id, limit=1):
            # Lists leave out what may be large.
            return Ret.OK, _result((await aio.get(run["run_id"])).info)
        return _trouble(Ret.NO_TASK, "NO_TASK", "no_task", f"pipeline {pipeline_id!r} has no task yet")

    return await _guarded(work)


async def pipeline_task_result_save(task_id: str, ret: int, result: Any) -> int:
    """Confirms that a task's result is stored: Riverrun stores it itself, in the commit that ends the task.

    Returns:
        0: exactly this outcome is stored. :attr:`Ret.RUNNING`: there is none yet. :attr:`Ret.CONFLICT`: it is another one.
    """
    stored_ret, stored = await pipeline_task_result_get(task_id)
    if stored_ret in (Ret.NO_TASK, Ret.RUNNING, Ret.UNREACHABLE, Ret.REFUSED):
        return stored_ret
    if (ret == 0) != (stored_ret == 0):
        return Ret.CONFLICT
    given = result.get("output", stored.get("output")) if isinstance(result, dict) else result
    try:
        same = stored_ret != 0 or canonical(given) == canonical(stored.get("output"))
    except InvalidJson:
        same = False
    return Ret.OK if same else Ret.CONFLICT


async def pipeline_task_result_get(task_id: str) -> tuple[int, dict[str, Any]]:
    """The stored result of a task, without waiting."""
    return await pipeline_task_result(task_id, timeout=0)


async def pipeline_run_continue(
    pipeline_id: str, args: Any, continue_id: str | None, timeout: float | None = None, **options: Any
) -> tuple[int, dict[str, Any]]:
    """Gives the result of the work, which is done at most once for a ``continue_id``.

    Args:
        pipeline_id: the definition's name.
        args: its input, a JSON value. Other arguments under the same ``continue_id`` are a :attr:`Ret.CONFLICT`.
        continue_id: what makes the call repeatable, up to 255 bytes; with None or "" each call does the work.
        timeout: how long to wait, in seconds; then :attr:`Ret.RUNNING`, and the work goes on. None waits for ever.
        options: ``on_success``, ``on_failure``, ``on_running``, ``ttl``, ``force``, … of :func:`riverrun.start`.
    """

    async def work() -> tuple[int, dict[str, Any]]:
        client = aio.default_client()
        given = {**options, "continue_id": continue_id or None}
        handle, end = await client._start_and_wait(pipeline_id, args, timeout, given)
        return await _ended(handle, end, timeout)

    return await _guarded(work)


async def _ended(handle: aio.AsyncHandle, end: float | None, timeout: float | None) -> tuple[int, dict[str, Any]]:
    try:
        await handle._closed(end, timeout)
    except ResultTimeout:
        return Ret.RUNNING, _result(handle.info)
    return _CODES.get(handle.info["state"], Ret.FAILED), _result(handle.info)


async def _guarded(work: Callable[[], Awaitable[tuple[int, dict[str, Any]]]]) -> tuple[int, dict[str, Any]]:
    try:
        return await work()
    except Unreachable as error:
        return _trouble(Ret.UNREACHABLE, "UNREACHABLE", error.code, str(error))
    except ApiError as error:
        by_code = {"unknown_run": Ret.NO_TASK, "key_mismatch": Ret.CONFLICT}
        by_status = {409: Ret.CONFLICT, 410: Ret.PURGED, 503: Ret.UNREACHABLE}
        ret = by_code.get(error.code) or by_status.get(error.status, Ret.REFUSED)
        return _trouble(ret, ret.name, error.code, str(error))
    except RiverrunError as error:
        return _trouble(Ret.REFUSED, "REFUSED", error.code, str(error))


def _result(run: dict[str, Any]) -> dict[str, Any]:
    state = run["state"]
    result = {
        "task_id": run["run_id"],
        "pipeline_id": run.get("definition"),
        "status": "SUCCESS" if state == "succeeded" else state.upper(),
        "continue_id": run.get("continue_id"),
        "reused": bool(run.get("reused")),
        "attached": bool(run.get("attached")),
        "generation": run.get("generation"),
        "created_at": run.get("created_at"),
        "started_at": run.get("started_at"),
        "ended_at": run.get("ended_at"),
    }
    if state == "succeeded":
        result["output"] = run.get("output")
    elif state in requests.CLOSED:
        result["error"] = run.get("error")
    return result


def _trouble(ret: Ret, status: str, code: str, message: str) -> tuple[int, dict[str, Any]]:
    return ret, {"status": status, "error": {"type": code, "message": message, "details": None}}
