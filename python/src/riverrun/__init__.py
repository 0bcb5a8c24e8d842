"""Riverrun: runs your work to the end, whatever happens in between."""

from __future__ import annotations

from ._context import Context, current_context
from ._errors import (
    ApiError,
    Cancelled,
    InvalidJson,
    ResultTimeout,
    RiverrunError,
    RunCancelled,
    RunError,
    RunExpired,
    RunFailed,
    RunTimedOut,
    Unreachable,
)
from ._task import Task, task
from ._version import __version__

__all__ = [
    "ApiError",
    "Cancelled",
    "Context",
    "InvalidJson",
    "ResultTimeout",
    "RiverrunError",
    "RunCancelled",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunTimedOut",
    "Task",
    "Unreachable",
    "__version__",
    "current_context",
    "task",
]
