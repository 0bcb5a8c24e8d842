"""What a function is told about the call it answers."""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Context", "FunctionInfo", "ServiceInfo", "current_context", "progress"]

_PROGRESS_INTERVAL = 0.05

_current: contextvars.ContextVar[Context | None] = contextvars.ContextVar("riverrun_context", default=None)


@dataclass(frozen=True)
class FunctionInfo:
    """The function that is called."""

    name: str
    """Its name, without the service."""
    handler: str = "handler"
    """The name of the Python function."""
    timeout: float | None = None
    """Its time limit in seconds, if it has one."""


@dataclass(frozen=True)
class ServiceInfo:
    """The service that the function belongs to: the name of its folder."""

    name: str


@dataclass(frozen=True)
class Context:
    """What a function is told about its call.

    ``request_id``, ``function.name``, ``service.name`` and ``logger`` are named as cloud function runtimes name them.
    """

    request_id: str
    """The attempt's id: unique to this try."""
    run_id: str
    """The run that this call is a step of."""
    definition: str
    """What that run is a run of."""
    path: str
    """The step's path in the run."""
    attempt: int
    """Which try at the step this is, from 1."""
    idempotency_key: str
    """The same in every try at this step, and in no other step: hand it to services that accept one."""
    callback_token: str | None
    """Completes the step from outside, for steps that wait for that."""
    deadline: float | None
    """When the time limit is reached, as :func:`time.monotonic` counts; None without a limit."""
    function: FunctionInfo
    service: ServiceInfo
    logger: logging.Logger = field(repr=False)
    _publish: Callable[[dict[str, Any]], None] | None = field(default=None, repr=False, compare=False)
    _published: list[float] = field(default_factory=lambda: [float("-inf")], repr=False, compare=False)

    @property
    def function_name(self) -> str:
        """The function's name, without the service."""
        return self.function.name

    @property
    def service_name(self) -> str:
        """The service's name."""
        return self.service.name

    @property
    def requestId(self) -> str:  # noqa: N802 - a name that existing functions use
        """The same as ``request_id``."""
        return self.request_id

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Says how far the call has come; see :func:`riverrun.progress`."""
        if self._publish is None:
            return
        now = time.monotonic()
        # A loop may call this a million times: what is between two that are sent is not worth a message.
        if now - self._published[0] < _PROGRESS_INTERVAL and (total is None or done < total):
            return
        self._published[0] = now
        status: dict[str, Any] = {"done": done}
        if total is not None:
            status["total"] = total
        if note is not None:
            status["note"] = str(note)
        self._publish(status)

    def remaining(self) -> float | None:
        """Seconds until the time limit, not below 0; None without a limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def get_remaining_time_in_millis(self) -> int | None:
        """Milliseconds until the time limit; None without a limit."""
        remaining = self.remaining()
        return None if remaining is None else int(remaining * 1000)

    @classmethod
    def of(cls, call: dict[str, Any], publish: Callable[[dict[str, Any]], None] | None = None) -> Context:
        """The context of a call as the supervisor hands it over."""
        service, _, function = call["function"].rpartition("/")
        run_id, _, number = call["attempt"].split(".")
        limit_ms: int | None = call.get("timeout_ms")
        seconds = None if limit_ms is None else limit_ms / 1000
        return cls(
            request_id=call["attempt"],
            run_id=run_id,
            definition=call["definition"],
            path=call["path"],
            attempt=int(number),
            idempotency_key=call["idempotency_key"],
            callback_token=call.get("callback"),
            deadline=None if seconds is None else time.monotonic() + seconds,
            function=FunctionInfo(name=function, timeout=seconds),
            service=ServiceInfo(name=service),
            logger=logging.getLogger(call["function"]),
            _publish=publish,
        )


def current_context() -> Context:
    """The context of the call that is executing.

    Raises:
        RuntimeError: outside of a call by a worker.
    """
    context = _current.get()
    if context is None:
        raise RuntimeError("there is no context here: this code was not called by a Riverrun worker")
    return context


def progress(done: float, total: float | None = None, note: str | None = None) -> None:
    """Says how far the call that is executing has come; lists, the API and the terminal show it.

    It may be called as often as one likes: at most one a second is recorded, and the last of each second is. Outside of a call
    by a worker it does nothing, so that a task can also be called plainly.

    Args:
        done: how much is done.
        total: how much there is to do.
        note: what is being done, for people.
    """
    context = _current.get()
    if context is not None:
        context.progress(done, total, note)


def enter(context: Context) -> None:
    """Makes a context current, for the child."""
    _current.set(context)
