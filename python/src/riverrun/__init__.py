"""Riverrun: runs your work to the end, whatever happens in between."""

from __future__ import annotations

from . import aio, canonical, pipeline
from ._client import Client, Handle, connect, get, run, start
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
from ._ids import new_run_id
from ._task import Task, task
from ._version import __version__

__all__ = [
    "ApiError",
    "Cancelled",
    "Client",
    "Context",
    "Handle",
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
    "aio",
    "canonical",
    "connect",
    "current_context",
    "get",
    "new_run_id",
    "pipeline",
    "run",
    "start",
    "task",
]
