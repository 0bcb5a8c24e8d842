"""Schedules from Python: what the clients ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import riverrun
from conftest import Server, run
from test_client import Call, client

__all__ = ["client"]

SEEN = {"name": "nightly", "when": "0 3 * * *", "next": []}


def test_a_schedule_is_written_with_what_it_starts(client: Call, server: Server) -> None:
    server.answers = [(201, SEEN)]
    written = client(
        *("create_schedule", "nightly", "0 3 * * *", "backup", {"to": "s3"}),
        zone="Europe/Berlin",
        overlap="queue",
        jitter=timedelta(minutes=5),
        from_=datetime(2027, 1, 1, tzinfo=UTC),
        labels={"team": "red"},
        retries=2,
        kind="task",
        namespace="shop",
    )
    assert written["name"] == "nightly"
    assert (server.seen[0].method, server.seen[0].path) == ("PUT", "/v1/schedules")
    assert server.seen[0].body == {
        "name": "nightly",
        "when": "0 3 * * *",
        "zone": "Europe/Berlin",
        "overlap": "queue",
        "jitter": 300.0,
        "from": "2027-01-01T00:00:00+00:00",
        "start": {
            "definition": "backup",
            "input": {"to": "s3"},
            "labels": {"team": "red"},
            "retries": 2,
            "kind": "task",
            "namespace": "shop",
        },
    }


def test_a_mistyped_option_is_found_before_anything_is_sent(client: Call, server: Server) -> None:
    with pytest.raises(TypeError, match="zoen"):
        client("create_schedule", "nightly", "0 3 * * *", "backup", zoen="Europe/Berlin")
    assert server.seen == []


def test_a_schedule_is_shown_paused_resumed_and_deleted(client: Call, server: Server) -> None:
    server.answers = [(200, SEEN), (200, SEEN), (200, SEEN), (204, None)]
    client("schedule", "a/b ü")
    client("pause_schedule", "nightly", "holiday")
    client("resume_schedule", "nightly")
    assert client("delete_schedule", "nightly", namespace="shop") is None
    assert [(seen.method, seen.path) for seen in server.seen] == [
        ("GET", "/v1/schedules?name=a%2Fb+%C3%BC"),
        ("POST", "/v1/schedules/pause"),
        ("POST", "/v1/schedules/resume"),
        ("DELETE", "/v1/schedules?name=nightly&namespace=shop"),
    ]
    assert server.seen[1].body == {"name": "nightly", "reason": "holiday"}


def test_a_trigger_that_is_sent_again_is_the_same_trigger(client: Call, server: Server) -> None:
    server.answers = [None, (201, run("queued"))]
    assert client("trigger_schedule", "nightly").id == "run_1"
    assert len({seen.body["request_id"] for seen in server.seen}) == 1


def test_a_backfill_gives_the_planned_times(client: Call, server: Server) -> None:
    times = [{"planned_at": "2026-03-01T00:00:00Z", "run_id": "run_1", "created": True}]
    server.answers = [(200, {"items": times})]
    assert client("backfill_schedule", "nightly", "2026-03-01T00:00:00Z", dry_run=True) == times
    assert (server.seen[0].method, server.seen[0].path) == ("POST", "/v1/schedules/backfill")
    assert server.seen[0].body == {"name": "nightly", "from": "2026-03-01T00:00:00Z", "dry_run": True}


def test_schedules_are_listed_page_by_page(server: Server) -> None:
    server.answers = [(200, {"items": [{"name": "a"}], "next_cursor": "sa"}), (200, {"items": [{"name": "b"}]})]
    with riverrun.Client(server.url, "secret") as client:
        assert [item["name"] for item in client.schedules(prefix="x")] == ["a", "b"]
    assert [seen.path for seen in server.seen] == ["/v1/schedules?prefix=x", "/v1/schedules?prefix=x&cursor=sa"]
