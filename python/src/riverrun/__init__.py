"""Riverrun: runs your work to the end, whatever happens in between."""

from __future__ import annotations

from . import aio, canonical, pipeline
from ._client import Client, Handle, connect, get, run, start
from ._compose import Group, Signature, chain, group
from ._context import Context, current_context, progress
from ._errors import (
    ApiError,
    Cancelled,
    InvalidJson,
    ResultTimeout,
    Retry,
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
    "Group",
    "Handle",
    "InvalidJson",
    "ResultTimeout",
    "Retry",
    "RiverrunError",
    "RunCancelled",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunTimedOut",
    "Signature",
    "Task",
    "Unreachable",
    "__version__",
    "aio",
    "canonical",
    "chain",
    "connect",
    "current_context",
    "get",
    "group",
    "new_run_id",
    "pipeline",
    "progress",
    "run",
    "start",
    "task",
]
