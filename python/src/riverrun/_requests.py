"""What the clients say to the server and how they read its answers; without any I/O, for the sync and the async one."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ._errors import (
    ApiError,
    InvalidJson,
    ResultTimeout,
    RunCancelled,
    RunError,
    RunExpired,
    RunFailed,
    RunTimedOut,
    Unreachable,
)
from ._ids import new_run_id
from ._version import __version__

__all__ = [
    "CLOSED",
    "SOCKET_TIMEOUT",
    "Address",
    "Answer",
    "Request",
    "Retry",
    "SeenRun",
    "act_on_run",
    "announced_options",
    "get_run",
    "list_runs",
    "new_run_id",
    "next_wait",
    "not_ended",
    "read_journal",
    "result_of",
    "spec_of",
    "start_body",
    "start_composed",
    "start_many",
    "start_run",
]

LONG_POLL = 20.0
"""How long one request may wait for a run's end, in seconds; a longer wait is made of several."""

SOCKET_TIMEOUT = 30.0
"""How long the server may be silent, in seconds, beyond what it was asked to wait."""

_ENDED: dict[str, type[RunError]] = {
    "failed": RunFailed,
    "timed_out": RunTimedOut,
    "cancelled": RunCancelled,
    "expired": RunExpired,
}
CLOSED = frozenset({"succeeded", *_ENDED})
"""States in which a run has ended."""

_OPTIONS = {
    *("version", "namespace", "queue", "priority", "labels", "timeout", "delay", "run_at", "queue_ttl"),
    *("retries", "max_crashes", "at_most_once", "unique", "unique_key", "result_ttl", "failure_ttl"),
    *("concurrency_key", "max_running", "rate", "then", "callback_url"),
    *("continue_id", "scope_version", "fingerprint_paths", "on_success", "on_failure", "on_running", "on_input"),
    *("allow_new_input", "rerun_purged", "force", "ttl", "max_generations"),
}


_ANNOUNCED = (
    *("queue", "priority", "timeout", "retries", "max_crashes", "at_most_once", "queue_ttl"),
    *("concurrency_key", "max_running", "rate", "result_ttl", "failure_ttl"),
)
"""Options that are a task's own, however it is started; the others are of one call."""


@dataclass(frozen=True)
class Address:
    """Where a server is and how to be let in."""

    host: str
    port: int
    tls: bool
    prefix: str
    token: str | None = field(repr=False)

    @classmethod
    def parse(cls, server: str | None = None, token: str | None = None) -> Address:
        """Reads ``http://host:port``; the environment's ``RIVERRUN_SERVER`` and ``RIVERRUN_TOKEN`` unless given."""
        server = server or os.environ.get("RIVERRUN_SERVER") or "http://127.0.0.1:7733"
        token = token or os.environ.get("RIVERRUN_TOKEN") or None
        parts = urlsplit(server)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError(f"{server!r} is not the address of a server: expected http://HOST:PORT")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname, port, tls, parts.path.rstrip("/"), token)

    @property
    def authority(self) -> str:
        """``host:port``, as the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    path: str
    body: bytes | None = None
    patience: float = SOCKET_TIMEOUT
    """How long the server may be silent, in seconds."""
    repeatable: bool = True
    """Whether it may be sent again when it is not known what became of it."""

    def headers(self, address: Address) -> dict[str, str]:
        """Its headers, for a server."""
        headers = {"host": address.authority, "accept": "application/json", "user-agent": f"riverrun-python/{__version__}"}
        if address.token:
            headers["authorization"] = f"Bearer {address.token}"
        if self.body is not None:
            headers["content-type"] = "application/json"
        if self.body is not None or self.method == "POST":
            headers["content-length"] = str(len(self.body or b""))
        return headers


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def value(self) -> Any:
        """What it holds.

        Raises:
            ApiError: it is a refusal.
        """
        try:
            value = json.loads(self.body) if self.body.strip() else None
        except ValueError:
            value = None
            if self.status < 400:
                raise ApiError(self.status, "not_riverrun", "the answer is not JSON: is this a Riverrun server?") from None
        if self.status < 400:
            return value
        problem = value if isinstance(value, dict) else {}
        message = problem.get("detail") or problem.get("title") or f"the server answered with HTTP status {self.status}"
        raise ApiError(self.status, problem.get("code") or f"http_{self.status}", message, problem)

    def code(self) -> str | None:
        """The stable code of the refusal that it is, if it is one."""
        try:
            problem = json.loads(self.body)
        except ValueError:
            return None
        code = problem.get("code") if isinstance(problem, dict) else None
        return code if isinstance(code, str) else None

    def retry_after(self) -> float | None:
        """What it says about when to come back, in seconds."""
        try:
            return max(0.0, float(self.headers.get("retry-after", "")))
        except ValueError:
            return None


class Retry:
    """How long to wait before a request is tried again, until the time for it is used up."""

    def __init__(self, limit: float) -> None:
        self._end = time.monotonic() + limit
        self._limit = limit
        self._delay = 0.1

    def after_answer(self, request: Request, answer: Answer) -> float | None:
        """Seconds to wait after an answer; None if it is final, or if there is no time left."""
        if answer.status not in (429, 503):
            return None
        if answer.status == 503 and not request.repeatable and answer.code() != "busy":
            # Only a server that is too busy says for certain that nothing was decided.
            return None
        return self._next(answer.retry_after())

    def after_error(self, request: Request, address: Address, error: Exception, sent: bool) -> float:
        """Seconds to wait after a broken connection.

        Raises:
            Unreachable: the time is used up, or the request must not be repeated.
        """
        delay = self._next(None) if request.repeatable or not sent else None
        if delay is None:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"no answer from the server at {address.authority} within {self._limit:g} s: {reason}") from error
        return delay

    def _next(self, wanted: float | None) -> float | None:
        delay = self._delay * random.uniform(0.5, 1.0) if wanted is None else wanted
        self._delay = min(self._delay * 2, 2.0)
        return delay if time.monotonic() + delay < self._end else None


def start_run(
    name: str, value: Any, kind: str | None, run_id: str | None, wait: float | None, options: Mapping[str, Any]
) -> Request:
    """The start of a run."""
    body = start_body(options, checked=True)
    if body.get("unique") or body.get("unique_key"):
        # The key alone makes it repeatable, as long as the run has not ended.
        if body.get("continue_id") or run_id is not None:
            raise TypeError("unique excludes continue_id and run_id: each says which starts are the same")
        body.pop("continue_id", None)
    elif not body.get("continue_id"):
        # Null and empty mean "no key"; then the id is what makes the start repeatable.
        body.pop("continue_id", None)
        body["run_id"] = run_id or new_run_id()
    elif run_id is not None:
        raise TypeError("give a continue_id or a run_id, not both")
    body["definition"] = name
    body["input"] = {} if value is None else value
    if kind is not None:
        body["kind"] = kind
    if wait:
        body["wait"] = _seconds(wait)
    # A second `force` would begin a second generation: what may have arrived is not sent again.
    repeatable = not body.get("force") and body.get("on_running") != "restart" and body.get("on_success") != "rerun"
    return Request("POST", "/v1/runs", encode(body), SOCKET_TIMEOUT + (wait or 0.0), repeatable)


def start_body(options: Mapping[str, Any], checked: bool = False) -> dict[str, Any]:
    """Options as a body has them; ``checked``: those of a start and no others."""
    unknown = sorted(set(options) - _OPTIONS - {"kind"}) if checked else []
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}: expected one of {', '.join(sorted(_OPTIONS))}")
    return {key: _option(key, option) for key, option in options.items() if option is not None}


def get_run(run_id: str, wait: float = 0.0) -> Request:
    """A run, after waiting for its end for so long."""
    query = f"?wait={_seconds(wait)}" if wait > 0 else ""
    return Request("GET", f"/v1/runs/{quote(run_id, safe='')}{query}", None, SOCKET_TIMEOUT + wait)


def act_on_run(run_id: str, action: str, body: dict[str, Any] | None = None) -> Request:
    """A request to a run: cancel, pause, resume, signal."""
    return Request("POST", f"/v1/runs/{quote(run_id, safe='')}/{action}", encode(body or {}))


def read_journal(run_id: str, after: int) -> Request:
    """The part of a run's journal behind an entry."""
    return Request("GET", f"{get_run(run_id).path}/journal?after={after}&limit=500")


def list_runs(filters: Mapping[str, Any]) -> Request:
    """A page of runs."""
    query = urlencode({key: value for key, value in filters.items() if value is not None}, doseq=True)
    return Request("GET", "/v1/runs" + (f"?{query}" if query else ""))


class SeenRun:
    """A run as an answer told it: what a handle knows without asking."""

    _run: dict[str, Any]

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self._run["run_id"])

    @property
    def info(self) -> dict[str, Any]:
        """The run as it was last seen, without asking again."""
        return self._run

    @property
    def reused(self) -> bool:
        """Whether the start found a run that had ended under the same key."""
        return bool(self._run.get("reused"))

    @property
    def duplicate(self) -> bool:
        """Whether a ``unique`` start found the same task queued or running, and started nothing."""
        return bool(self._run.get("duplicate"))

    @property
    def progress(self) -> Any:
        """How far it said it had come when it was last seen: ``{"done": 3, "total": 10, "note": …}``, or None."""
        return self._run.get("status")

    @property
    def attached(self) -> bool:
        """Whether the start found a run in flight under the same key."""
        return bool(self._run.get("attached"))


def result_of(run: dict[str, Any]) -> Any:
    """The output of a run that has ended.

    Raises:
        RunError: it ended in another way.
    """
    if run["state"] == "succeeded":
        return run.get("output")
    raise _ENDED.get(run["state"], RunError)(run)


def not_ended(run: dict[str, Any], timeout: float | None) -> ResultTimeout:
    """The error for a wait that was not long enough: it says what the run waits for."""
    waiting = run.get("waiting") or {}
    why = f", waiting for {waiting.get('kind')} {waiting.get('name') or ''}".rstrip() if waiting else ""
    return ResultTimeout(f"run {run.get('run_id')} is {run.get('state')}{why} after {timeout:g} s; it goes on")


def next_wait(end: float | None) -> float:
    """How long the next request may wait, for a wait that ends at a moment of :func:`time.monotonic`."""
    return LONG_POLL if end is None else max(0.0, min(LONG_POLL, end - time.monotonic()))


def encode(value: Any) -> bytes:
    """A body.

    Raises:
        InvalidJson: the value is not JSON.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJson("syntax", f"the input is not JSON: {error}") from None


def start_many(starts: Sequence[dict[str, Any]], namespace: str | None) -> Request:
    """Many starts in one commit. Each carries an id or a key, so that all may be sent again."""
    body: dict[str, Any] = {"runs": list(starts)}
    if namespace is not None:
        body["namespace"] = namespace
    return Request("POST", "/v1/runs/batch", encode(body), SOCKET_TIMEOUT)


def start_composed(what: str, body: dict[str, Any]) -> Request:
    """A group or a chain, under an id of its own."""
    return Request("POST", f"/v1/{what}", encode({"run_id": new_run_id(), **body}), SOCKET_TIMEOUT)


def spec_of(name: str, value: Any, kind: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """A start as part of another: of a group, a chain, ``then``."""
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}: expected one of {', '.join(sorted(_OPTIONS))}")
    spec: dict[str, Any] = {"definition": name}
    if value is not None:
        spec["input"] = value
    if kind is not None:
        spec["kind"] = kind
    spec.update({key: _option(key, option) for key, option in options.items() if option is not None})
    return spec


def announced_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker says of a task's runs, for starts that do not say it themselves.

    Raises:
        TypeError: there is no such option, or it is no JSON value.
    """
    unknown = sorted(set(options) - _OPTIONS - {"kind"})
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}: expected one of {', '.join(sorted(_OPTIONS))}")
    own = start_body({key: options[key] for key in _ANNOUNCED if key in options})
    for key, value in own.items():
        try:
            encode(value)
        except InvalidJson:
            raise TypeError(f"{key} is {value!r}, and must be a JSON value") from None
    return own


def _option(key: str, value: Any) -> Any:
    if key == "then" and hasattr(value, "to_spec"):
        return value.to_spec(following=True)
    if key == "retries" and isinstance(value, Mapping):
        return {name: _policy(name, part) for name, part in value.items()}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{key} needs a time zone: {value.isoformat()} could be any of 24 moments")
        return value.isoformat()
    return value


def _policy(name: str, value: Any) -> Any:
    """A part of a retry policy; classes of exceptions stand for their names."""
    if name in ("errors", "never"):
        return [item.__name__ if isinstance(item, type) else str(item) for item in value]
    return _option(name, value)


def _seconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
