"""The six pipeline calls, and that the algorithm that they come from runs on them unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from conftest import Server, run
from riverrun import aio
from riverrun import pipeline as p
from riverrun.pipeline import Ret


@pytest.fixture(autouse=True)
def connected(server: Server) -> Iterator[None]:
    """Connects the module's client to the server of the test."""
    aio.connect(server.url, retry_for=0)
    yield
    aio.connect("http://127.0.0.1:1")


def call(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_a_task_is_started(server: Server) -> None:
    server.answers = [(201, run("queued"))]
    ret, result = call(p.pipeline_run("polling", {"delay": 20}))
    assert (ret, result["task_id"], result["status"]) == (0, "run_1", "QUEUED")


@pytest.mark.parametrize(
    ("state", "ret", "status"),
    [
        ("succeeded", Ret.OK, "SUCCESS"),
        ("failed", Ret.FAILED, "FAILED"),
        ("timed_out", Ret.TIMED_OUT, "TIMED_OUT"),
        ("cancelled", Ret.CANCELLED, "CANCELLED"),
        ("expired", Ret.EXPIRED, "EXPIRED"),
        ("running", Ret.RUNNING, "RUNNING"),
        ("suspended", Ret.RUNNING, "SUSPENDED"),
    ],
)
def test_ret_is_zero_only_for_success(server: Server, state: str, ret: Ret, status: str) -> None:
    server.answers = [(200, run(state, output=3, error={"type": "E", "message": "m"}, reused=True, generation=2))]
    found, result = call(p.pipeline_task_result_get("run_1"))
    assert (found, result["status"], result["generation"], result["reused"]) == (ret, status, 2, True)
    assert ("output" in result) == (state == "succeeded")
    assert ("error" in result) == (ret not in (Ret.OK, Ret.RUNNING))
    found, result = call(p.pipeline_run_continue("polling", {}, "k", timeout=0))
    assert (found, result["status"]) == (ret, status)


@pytest.mark.parametrize(
    ("status", "code", "ret"),
    [
        (422, "key_mismatch", Ret.CONFLICT),
        (422, "invalid_params", Ret.REFUSED),
        (409, "key_rejected", Ret.CONFLICT),
        (410, "key_purged", Ret.PURGED),
        (404, "unknown_definition", Ret.REFUSED),
        (404, "unknown_run", Ret.NO_TASK),
        (401, "unauthorized", Ret.REFUSED),
        (503, "busy", Ret.UNREACHABLE),
    ],
)
def test_refusals_are_told_apart(server: Server, status: int, code: str, ret: Ret) -> None:
    server.answers = [(status, {"code": code, "detail": "why"})]
    found, result = call(p.pipeline_run_continue("polling", {}, "k"))
    assert (found, result["status"]) == (ret, ret.name)
    assert result["error"] == {"type": code, "message": "why", "details": None}


def test_no_server_and_no_json_are_codes_too(server: Server) -> None:
    server.answers = [None]
    assert call(p.pipeline_last_task("polling"))[0] == Ret.UNREACHABLE
    assert call(p.pipeline_run("polling", {"x": object()}))[0] == Ret.REFUSED


def test_the_last_task(server: Server) -> None:
    server.answers = [(200, {"items": [], "next_cursor": None})]
    ret, result = call(p.pipeline_last_task("polling"))
    assert (ret, result["status"]) == (Ret.NO_TASK, "NO_TASK")
    server.answers = [(200, {"items": [run("failed")], "next_cursor": "c"}), (200, run("failed", error={"type": "E"}))]
    ret, result = call(p.pipeline_last_task("polling"))
    assert (ret, result["task_id"], result["error"]) == (0, "run_1", {"type": "E"})
    assert server.seen[1].path == "/v1/runs?definition=polling&limit=1"


def test_saving_confirms_what_is_stored(server: Server) -> None:
    server.answers = [(200, run(output={"a": 1.0, "b": 2}))]
    assert call(p.pipeline_task_result_save("run_1", 0, {"output": {"b": 2, "a": 1}})) == 0
    assert call(p.pipeline_task_result_save("run_1", 0, {"output": {"b": 3}})) == Ret.CONFLICT
    assert call(p.pipeline_task_result_save("run_1", 3, {})) == Ret.CONFLICT
    server.answers = [(200, run("running"))]
    assert call(p.pipeline_task_result_save("run_1", 0, {})) == Ret.RUNNING


def test_an_empty_key_does_the_work_each_time(server: Server) -> None:
    server.answers = [(200, run(output=1))]
    for none in (None, ""):
        call(p.pipeline_run_continue("polling", {}, none))
    assert len({seen.body["run_id"] for seen in server.seen}) == 2


def test_the_original_algorithm_runs_on_these_calls(server: Server) -> None:
    async def original(pipeline_id: str, args: Any, continue_id: str) -> tuple[int, dict[str, Any]]:
        ret, last = await p.pipeline_last_task(pipeline_id)
        if ret != 0:
            return ret, last
        ret, result = await p.pipeline_task_result_get(last["task_id"])
        if ret != 0:
            return ret, result
        if result.get("continue_id") == continue_id and result.get("status") == "SUCCESS":
            return 0, result
        ret, result = await p.pipeline_run(pipeline_id, args)
        if ret != 0:
            return ret, result
        task_id = result["task_id"]
        ret, result = await p.pipeline_task_result(task_id)
        if ret != 0:
            return ret, result
        ret = await p.pipeline_task_result_save(task_id, ret, result)
        return ret, result

    server.answers = [
        (200, {"items": [run()], "next_cursor": None}),
        (200, run(continue_id="old", output=0)),
        (200, run(continue_id="old", output=0)),
        (201, run("queued", run_id="run_2")),
        (200, run("running", run_id="run_2")),
        (200, run(run_id="run_2", output=7)),
    ]
    ret, result = call(original("polling", {}, "new"))
    assert (ret, result["task_id"], result["output"]) == (0, "run_2", 7)
