"""The client, sync and async: what it asks, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest

import riverrun
from conftest import Server, run
from riverrun import aio

OK = 200
Call = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, server: Server) -> Call:
    """Calls a method of a client; the same tests hold for both."""

    def sync_call(method: str, *args: Any, retry_for: float = 5.0, then: str = "", **options: Any) -> Any:
        with riverrun.Client(server.url, "secret", retry_for=retry_for) as client:
            value = getattr(client, method)(*args, **options)
            return getattr(value, then)() if then else value

    def async_call(method: str, *args: Any, retry_for: float = 5.0, then: str = "", **options: Any) -> Any:
        async def work() -> Any:
            async with aio.AsyncClient(server.url, "secret", retry_for=retry_for) as client:
                value = await getattr(client, method)(*args, **options)
                return await getattr(value, then)() if then else value

        return asyncio.run(work())

    return sync_call if request.param == "sync" else async_call


def test_a_start_carries_an_id_and_returns_a_handle(client: Call, server: Server) -> None:
    server.answers = [(201, run("queued"))]
    handle = client("start", "polling", {"delay": 20}, labels={"a": "b"})
    assert handle.id == "run_1"
    assert not handle.reused
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("POST", "/v1/runs")
    assert {name.lower(): value for name, value in seen.headers.items()}["authorization"] == "Bearer secret"
    assert re.fullmatch("run_[0-9a-hjkmnp-tv-z]{26}", seen.body.pop("run_id"))
    assert seen.body == {"definition": "polling", "input": {"delay": 20}, "labels": {"a": "b"}}


def test_a_key_takes_the_place_of_the_id(client: Call, server: Server) -> None:
    server.answers = [(200, run(output=1, reused=True))]
    assert client("start", "polling", None, continue_id="n-1", on_failure="resume").reused
    assert server.seen[0].body == {"definition": "polling", "input": {}, "continue_id": "n-1", "on_failure": "resume"}


@pytest.mark.parametrize("none", [None, ""])
def test_no_key_is_no_key(client: Call, server: Server, none: str | None) -> None:
    server.answers = [(201, run("queued"))]
    client("start", "polling", continue_id=none)
    assert "run_id" in server.seen[0].body
    assert "continue_id" not in server.seen[0].body


def test_a_repeated_start_is_the_same_start(client: Call, server: Server) -> None:
    server.answers = [None, (503, {"code": "busy"}), (201, run("queued"))]
    client("start", "polling")
    assert len(server.seen) == 3
    assert len({seen.body["run_id"] for seen in server.seen}) == 1


def test_what_must_not_be_repeated_is_not(client: Call, server: Server) -> None:
    server.answers = [None, (201, run("queued"))]
    with pytest.raises(riverrun.Unreachable):
        client("start", "polling", continue_id="k", force=True)
    assert len(server.seen) == 1


@pytest.mark.parametrize(("code", "sent"), [("busy", 2), ("unavailable", 1)])
def test_what_must_not_be_repeated_is_only_after_a_certain_refusal(client: Call, server: Server, code: str, sent: int) -> None:
    server.answers = [(503, {"code": code}), (201, run("queued"))]
    with contextlib.suppress(riverrun.ApiError):
        client("start", "polling", continue_id="k", force=True)
    assert len(server.seen) == sent


def test_run_waits_for_the_end(client: Call, server: Server) -> None:
    server.answers = [(202, run("running")), (200, run("suspended")), (200, run(output={"n": 9007199254740993}))]
    assert client("run", "polling") == {"n": 9007199254740993}
    assert server.seen[0].body["wait"] == "20000ms"
    assert [seen.path for seen in server.seen[1:]] == ["/v1/runs/run_1?wait=20000ms"] * 2


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("failed", riverrun.RunFailed),
        ("timed_out", riverrun.RunTimedOut),
        ("cancelled", riverrun.RunCancelled),
        ("expired", riverrun.RunExpired),
    ],
)
def test_a_run_without_a_result_raises(client: Call, server: Server, state: str, error: type[riverrun.RunError]) -> None:
    server.answers = [(200, run(state, error={"type": "ValueError", "message": "no", "details": {"traceback": "…"}}))]
    with pytest.raises(error, match=r"ValueError: no$") as caught:
        client("run", "polling")
    assert (caught.value.type, caught.value.message, caught.value.code) == ("ValueError", "no", f"run_{state}")


def test_a_wait_that_was_too_short_says_what_the_run_waits_for(client: Call, server: Server) -> None:
    server.answers = [(202, run("suspended", waiting={"kind": "timer", "name": "nap"}))]
    with pytest.raises(riverrun.ResultTimeout, match="suspended, waiting for timer nap"):
        client("run", "polling", timeout=0)


def test_a_refusal_has_its_code(client: Call, server: Server) -> None:
    problem = {"code": "unknown_definition", "detail": "no definition `pol`; did you mean `polling`?", "status": 404}
    server.answers = [(404, problem)]
    with pytest.raises(riverrun.ApiError, match="did you mean") as caught:
        client("start", "pol")
    assert (caught.value.code, caught.value.status, caught.value.problem) == ("unknown_definition", 404, problem)


def test_a_server_that_stays_busy_is_given_up(client: Call, server: Server) -> None:
    server.answers = [(503, {"code": "busy", "detail": "later"})]
    with pytest.raises(riverrun.ApiError, match="later"):
        client("get", "run_1", retry_for=0)


def test_a_server_that_is_not_there(client: Call, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    server.answers = [None]
    with pytest.raises(riverrun.Unreachable, match=r"no answer from the server at 127.0.0.1"):
        client("get", "run_1", retry_for=0)


def test_handles_act_on_runs(client: Call, server: Server) -> None:
    server.answers = [(200, run("running"))]
    for method in ("status", "cancel", "pause", "resume"):
        client("get", "run_1", then=method)
    asked = [(seen.method, seen.path) for seen in server.seen if seen.method == "POST"]
    assert asked == [("POST", f"/v1/runs/run_1/{method}") for method in ("cancel", "pause", "resume")]


def test_bad_arguments_are_refused_here(client: Call, server: Server) -> None:
    with pytest.raises(TypeError, match="unknown option 'continueid'"):
        client("start", "polling", continueid="x")
    with pytest.raises(riverrun.InvalidJson, match="not JSON"):
        client("start", "polling", {"x": object()})
    assert not server.seen


def test_lists_are_read_page_by_page(server: Server) -> None:
    server.answers = [(200, {"items": [run(), run()], "next_cursor": "c"}), (200, {"items": [run()], "next_cursor": None})]
    assert len(list(riverrun.Client(server.url).runs(definition="a b", state="failed"))) == 3
    assert [seen.path for seen in server.seen] == [
        "/v1/runs?definition=a+b&state=failed",
        "/v1/runs?definition=a+b&state=failed&cursor=c",
    ]


def test_a_filter_may_name_several_values(server: Server) -> None:
    server.answers = [(200, {"items": [], "next_cursor": None})]
    assert list(riverrun.Client(server.url).runs(label=["a=1", "b=2"])) == []
    assert [seen.path for seen in server.seen] == ["/v1/runs?label=a%3D1&label=b%3D2"]


def test_an_async_handle_reads_the_journal_to_its_end(server: Server) -> None:
    parts = [{"items": [{"seq": 1}, {"seq": 2}], "next_after": 2}, {"items": [], "next_after": 2}]
    server.answers = [(200, run()), *((200, part) for part in parts)]

    async def read() -> list[int]:
        async with aio.AsyncClient(server.url) as client:
            return [entry["seq"] async for entry in (await client.get("run_1")).journal()]

    assert asyncio.run(read()) == [1, 2]
    assert server.seen[-1].path == "/v1/runs/run_1/journal?after=2&limit=500"


def test_addresses_are_checked() -> None:
    with pytest.raises(ValueError, match="expected http://HOST:PORT"):
        riverrun.Client("localhost:7733")


def test_a_handle_can_be_awaited(server: Server) -> None:
    server.answers = [(200, run(output=5))]
    handle = riverrun.Client(server.url).get("run_1")

    async def wait() -> Any:
        return await handle

    assert asyncio.run(wait()) == 5


def test_ids_are_as_the_kernel_reads_them() -> None:
    assert riverrun.new_run_id(1, 2, 3) == "run_00000000010010000000000003"
    assert riverrun.new_run_id((1 << 48) - 1, 65535, (1 << 64) - 1) == "run_7zzzzzzzzzzzzzzzzzzzzzzzzz"
    assert len({riverrun.new_run_id() for _ in range(100)}) == 100
