"""Handlers in the manner of BaiChuan: plain functions of a folder called ``handlers``, where module and function make the name.

A handler may take ``req`` first, and may answer with a status and data: ``return "OK", {"randstr": "x"}``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ._context import current_context
from ._outcome import Failure
from ._task import Task

__all__ = ["Request", "as_task", "handlers_of", "place_of"]

FOLDER = "handlers"
"""The folder's name, which makes its modules' functions handlers."""

_FAILED = {"ERR_BAD_PARAMS", "ERR_SERVER_EXCEPTION"}
"""Statuses of a handler that has failed; any other has finished."""

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass
class Request:
    """What a handler that takes ``req`` is given."""

    reqid: str
    """Sixteen hex digits: the task's id, as BaiChuan's HTTP API has it."""
    funcname: str
    """The handler's name."""
    ip: str = "0.0.0.0"
    username: str = "-"
    log_params: dict[str, Any] = field(default_factory=dict)
    log_stat: dict[str, float] = field(default_factory=dict)
    log_res: set[str] = field(default_factory=set)
    wsgienv: dict[str, Any] = field(default_factory=lambda: {"REQUEST_METHOD": "QUEUE"})


def place_of(root: Path, file: Path) -> str | None:
    """What the names of a file's handlers begin with, such as ``/demo_api``; None for a file outside of a folder of handlers."""
    folders = (root.name, *file.relative_to(root).with_suffix("").parts)
    if FOLDER not in folders[:-1]:
        return None
    parts = folders[folders.index(FOLDER) + 1 :]
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return "/" + "/".join(parts) if parts else None


def handlers_of(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public functions that a module defines: with ``__all__``, those that it names."""
    public = getattr(module, "__all__", None)
    for name, value in vars(module).items():
        is_own = inspect.isfunction(value) and value.__module__ == module.__name__
        if is_own and (name in public if public is not None else not name.startswith("_")):
            yield name, value


def as_task(function: Callable[..., Any], name: str) -> Task[..., Any]:
    """The task that a handler is.

    Raises:
        TypeError: it has a parameter that cannot be given by name.
    """
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    takes_request = bool(parameters) and parameters[0].name == "req"
    if takes_request:
        parameters = parameters[1:]
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TypeError(f"its parameter {parameter.name!r} cannot be given by name")

    @functools.wraps(function)
    def call(**arguments: Any) -> Any:
        value = function(_request(name), **arguments) if takes_request else function(**arguments)
        return _later(value, takes_request) if inspect.isawaitable(value) else _answer(value, takes_request)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return Task(call, name, {})


async def _later(value: Awaitable[Any], takes_request: bool) -> Any:
    return _answer(await value, takes_request)


def _request(name: str) -> Request:
    number = 0
    for digit in current_context().run_id.removeprefix("run_"):
        number = number * 32 + max(_DIGITS.find(digit), 0)
    return Request(reqid=f"{number & 0xFFFF_FFFF_FFFF_FFFF:016X}", funcname=name)


def _answer(value: Any, takes_request: bool) -> Any:
    """The value that a handler's answer stands for: ``stat, data[, headers]`` is one object; anything else is itself.

    Raises:
        Failure: its status says that it has failed.
    """
    if isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[0], str):
        stat, data = value[0], value[1]
    elif takes_request and isinstance(value, str):
        stat, data = value, None
    else:
        return value
    if stat in _FAILED:
        raise Failure(stat, "the handler said so", retryable=stat != "ERR_BAD_PARAMS")
    if data is None:
        return {"stat": stat}
    return {"stat": stat} | data | {"stat": stat} if isinstance(data, dict) else {"stat": stat, "data": data}
