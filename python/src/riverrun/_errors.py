"""The errors of this package. Each has a stable ``code``, the same as in the HTTP API and on the command line."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ApiError",
    "Cancelled",
    "InvalidJson",
    "ResultTimeout",
    "Retry",
    "RiverrunError",
    "RunCancelled",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunTimedOut",
    "Unreachable",
]


class RiverrunError(Exception):
    """The base of every error that this package raises."""

    code: str = "error"
    """A stable name for what went wrong."""


class Cancelled(BaseException):
    """Raised inside a function whose attempt was told to stop: clean up and let it pass.

    Like :class:`asyncio.CancelledError` it is no :class:`Exception`, so that ``except Exception`` does not swallow it.
    """

    code = "cancelled"


class Retry(RiverrunError):
    """Raised by a task: this try failed, and the next one makes sense after so long.

    The delay goes before that of the task's own back-off. Any other exception may say the same by an attribute
    ``retry_after`` in seconds. How often a task is tried is still up to its ``retries``.

    Args:
        message: what a person reads.
        after: how long to wait, in seconds.
    """

    code = "retry"

    def __init__(self, message: str = "try again later", *, after: float) -> None:
        super().__init__(message)
        self.retry_after = after
        """How long to wait, in seconds."""


class InvalidJson(RiverrunError, ValueError):
    """A text that has no canonical form, or a value that is not JSON."""

    code = "invalid_json"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """Which rule: ``syntax``, ``duplicate_key``, ``lone_surrogate`` or ``out_of_range``."""


class Unreachable(RiverrunError, ConnectionError):
    """The server could not be reached, or could not answer, for as long as the client was told to try.

    Whether the request was carried out is not known. Starts carry an id or a key, so that asking again is safe.
    """

    code = "unreachable"


class ApiError(RiverrunError):
    """The server refused a request."""

    def __init__(self, status: int, code: str, message: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.code = code
        self.problem = problem or {}
        """The answer in full (RFC 9457)."""


class ResultTimeout(RiverrunError, TimeoutError):
    """The run had not ended within the time that the caller was ready to wait. It goes on."""

    code = "result_timeout"


class RunError(RiverrunError):
    """A run has ended without a result. The base of the four ways."""

    code = "run_failed"

    def __init__(self, run: dict[str, Any]) -> None:
        error = run.get("error") or {}
        self.run = run
        """The run, as the API has it."""
        self.run_id: str = run.get("run_id", "")
        self.type: str = error.get("type", "")
        """The name of the error: an exception's class, usually."""
        self.message: str = error.get("message", "")
        self.details: Any = error.get("details")
        reason = ": ".join(part for part in (self.type, self.message) if part)
        super().__init__(f"run {self.run_id} of {run.get('definition')} {run.get('state')}" + (f": {reason}" if reason else ""))


class RunFailed(RunError):
    """The run has failed. ``riverrun runs resume`` reopens it, finished steps kept."""

    code = "run_failed"


class RunTimedOut(RunError):
    """The run was ended by its time limit."""

    code = "run_timed_out"


class RunCancelled(RunError):
    """The run was cancelled."""

    code = "run_cancelled"


class RunExpired(RunError):
    """The run was not started within its time to live."""

    code = "run_expired"
