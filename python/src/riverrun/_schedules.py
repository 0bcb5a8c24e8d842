"""What the clients say about schedules; without any I/O, for the sync and the async one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ._ids import new_run_id
from ._requests import Request, encode, start_body

__all__ = ["backfill", "delete", "listing", "put", "show", "steer", "trigger"]

_PATH = "/v1/schedules"

_OPTIONS = {
    *("zone", "planned_as", "overlap", "missed", "missed_max", "missed_after", "jitter", "until", "description", "paused"),
    "from_",
}


def put(name: str, when: str, definition: str, value: Any, options: Mapping[str, Any]) -> Request:
    """Writes a schedule."""
    own = {key: option for key, option in options.items() if key in _OPTIONS}
    rest = {key: option for key, option in options.items() if key not in _OPTIONS}
    namespace = rest.pop("namespace", None)
    body = start_body({key.rstrip("_"): option for key, option in own.items()})
    start = start_body(rest, checked=True)
    kind = rest.pop("kind", None)
    start |= {"definition": definition, "input": {} if value is None else value}
    if kind is not None:
        start["kind"] = kind
    if namespace is not None:
        start["namespace"] = namespace
    return Request("PUT", _PATH, encode({**body, "name": name, "when": when, "start": start}))


def show(name: str, namespace: str | None) -> Request:
    """One schedule."""
    return Request("GET", _query({"name": name, "namespace": namespace}))


def listing(filters: Mapping[str, Any]) -> Request:
    """A page of schedules."""
    return Request("GET", _query(filters))


def steer(action: str, name: str, namespace: str | None, more: Mapping[str, Any] | None = None) -> Request:
    """Pauses or resumes a schedule."""
    return Request("POST", f"{_PATH}/{action}", encode(_named(name, namespace) | dict(more or {})))


def trigger(name: str, namespace: str | None) -> Request:
    """Starts a run of a schedule; the id makes that repeatable."""
    return steer("trigger", name, namespace, {"request_id": new_run_id()})


def backfill(name: str, namespace: str | None, from_: str, to: str | None, dry_run: bool) -> Request:
    """Starts runs for planned times that have none."""
    more: dict[str, Any] = {"from": from_, "dry_run": dry_run}
    return steer("backfill", name, namespace, more if to is None else more | {"to": to})


def delete(name: str, namespace: str | None) -> Request:
    """Forgets a schedule."""
    # A second one finds nothing, which says no more than that the first arrived.
    return Request("DELETE", _query({"name": name, "namespace": namespace}), repeatable=False)


def _named(name: str, namespace: str | None) -> dict[str, Any]:
    return {"name": name} if namespace is None else {"name": name, "namespace": namespace}


def _query(parts: Mapping[str, Any]) -> str:
    query = urlencode({key: value for key, value in parts.items() if value is not None})
    return f"{_PATH}?{query}" if query else _PATH
