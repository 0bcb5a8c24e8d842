"""Loads a folder of functions: finds what can be called, and says what is broken without giving up the rest."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import _context
from ._context import Context
from ._handlers import as_task, handlers_of, place_of
from ._outcome import Failure, _long_integers
from ._parameters import schema_of
from ._requests import announced_options
from ._task import Task

__all__ = ["Callee", "Catalogue", "load"]

_ROOT = "riverrun_functions"
_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages", "venv"}


@dataclass(frozen=True)
class Callee:
    """Something that can be called by name."""

    name: str
    function: Callable[..., Any]
    task: Task[..., Any] | None
    """The task it is; None for a ``handler(event, context)``."""
    origin: str

    @property
    def parses_text(self) -> bool:
        """Whether a returned text is JSON to be parsed: so it is with handlers."""
        return self.task is None

    def invoke(self, text: str, context: Context) -> Any:
        """Calls it with an input, given as JSON text. What an ``async`` function returns is a coroutine."""
        _context.enter(context)
        if self.task is None:
            return self.function(text.encode(), context)
        return self.function(**self._arguments(self.task, text))

    def _arguments(self, task: Task[..., Any], text: str) -> dict[str, Any]:
        try:
            with _long_integers():
                value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Failure("InvalidInput", f"the input of task {self.name} cannot be read: {error}", retryable=False) from None
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise Failure(
                "InvalidInput",
                f"task {self.name} takes an object with a key per parameter {task.signature}, not a {type(value).__name__}",
                retryable=False,
            )
        try:
            task.signature.bind(**value)
        except TypeError as error:
            raise Failure(
                "InvalidInput", f"the input does not fit task {self.name}{task.signature}: {error}", retryable=False
            ) from None
        return value


@dataclass
class Catalogue:
    """What a folder offers."""

    callees: dict[str, Callee] = field(default_factory=dict)
    broken: dict[str, Failure] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def announce(self) -> list[dict[str, Any]]:
        """The functions as the protocol has them."""
        good = [_announced(self.callees[name]) for name in sorted(self.callees)]
        return good + [
            {"name": name, "broken": f"{failure.error}: {failure.message}"} for name, failure in sorted(self.broken.items())
        ]

    def find(self, name: str) -> Callee:
        """The function of a name.

        Raises:
            Failure: there is none, or its file does not load.
        """
        callee = self.callees.get(name)
        if callee is not None:
            return callee
        if name in self.broken:
            broken = self.broken[name]
            raise Failure(broken.error, broken.message, broken.traceback_text)
        known = ", ".join(sorted(self.callees)) or "none"
        raise Failure("UnknownFunction", f"this worker has no function {name!r}; it has {known}")

    def add(self, callee: Callee) -> None:
        """Takes a function in; of two with one name the first stays."""
        other = self.callees.get(callee.name)
        if other is None:
            try:
                announced_options(callee.task.options if callee.task else {})
            except (TypeError, ValueError) as error:
                self.broken[callee.name] = Failure("InvalidOptions", f"{callee.origin}: the options of {callee.name}: {error}")
                return
            self.callees[callee.name] = callee
        elif other.origin != callee.origin:
            self.warnings.append(f"{callee.origin}: {callee.name!r} is defined in {other.origin} already; this one is not served")


def _announced(callee: Callee) -> dict[str, Any]:
    if callee.task is None:
        return {"name": callee.name}
    said: dict[str, Any] = {"name": callee.name, "parameters": schema_of(callee.task.function, callee.task.signature)}
    options = announced_options(callee.task.options)
    return {**said, "options": options} if options else said


def load(folder: Path, loading: Callable[[Path], None] = lambda _file: None) -> Catalogue:
    """Loads every Python file of a folder, or one file.

    Args:
        folder: the folder; ``SERVICE/FUNCTION.py`` in it with a ``handler(event, context)`` is the function ``SERVICE/FUNCTION``,
            and each :func:`riverrun.task` in any file is served under its own name. Below a folder called ``handlers`` a module
            that has neither serves its public functions: ``ping`` of ``handlers/demo_api.py`` is ``/demo_api/ping``.
        loading: told of each file before it is executed.
    """
    folder = folder.resolve()
    catalogue = Catalogue()
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder of functions")
    root = folder if folder.is_dir() else folder.parent
    _prepare_imports(root)
    for file in _files(root, folder) if folder.is_dir() else [folder]:
        loading(file)
        _load_file(catalogue, root, file)
    if not catalogue.callees and not catalogue.broken:
        catalogue.warnings.append(
            f"{folder}: no functions found; a function is SERVICE/FUNCTION.py with handler(event, context), a @riverrun.task, "
            "or a public function of a module in a folder called handlers"
        )
    return catalogue


def _prepare_imports(root: Path) -> None:
    """Makes the folder a package of its own name, so that no file in it can hide a module of the same name elsewhere."""
    package = types.ModuleType(_ROOT)
    package.__path__ = [str(root)]
    sys.modules[_ROOT] = package
    sys.path.insert(0, str(root))
    # A service's files may import each other plainly; after everything else, so that they hide nothing.
    sys.path.extend(str(child) for child in sorted(root.iterdir()) if child.is_dir() and not _skipped(child))


def _files(root: Path, folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if _skipped(entry):
            continue
        if entry.is_dir():
            yield from _files(root, entry)
        elif entry.suffix == ".py" and not _is_no_function(root, entry):
            yield entry


def _is_no_function(root: Path, file: Path) -> bool:
    if file.stem == "__init__":
        # Only a package of handlers has functions of its own.
        return place_of(root, file) is None
    return file.stem in ("__main__", "conftest", "setup") or file.stem.startswith("test_")


def _skipped(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS or (entry / "pyvenv.cfg").exists()


def _load_file(catalogue: Catalogue, root: Path, file: Path) -> None:
    relative = file.relative_to(root)
    parts = relative.with_suffix("").parts
    # A handler has its name from its place: exactly one folder deep.
    name = "/".join(parts) if len(parts) == 2 else None
    try:
        module = importlib.import_module(".".join((_ROOT, *parts)).removesuffix(".__init__"))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _note_broken(catalogue, root, file, name, error)
        return
    handler: Any = getattr(module, "handler", None)
    has_handler = callable(handler) and not isinstance(handler, Task)
    if has_handler and name is not None:
        catalogue.add(Callee(name, handler, None, str(relative)))
    elif has_handler and inspect.getmodule(handler) is module:
        catalogue.warnings.append(f"{relative}: its handler is not served: put it into SERVICE/FUNCTION.py, one folder deep")
    tasks = [value for value in vars(module).values() if isinstance(value, Task)]
    for task in tasks:
        catalogue.add(Callee(task.name, task.function, task, _origin(task)))
    place = place_of(root, file)
    if place is not None and not has_handler and not tasks:
        _add_handlers(catalogue, module, place, relative)


def _add_handlers(catalogue: Catalogue, module: types.ModuleType, place: str, relative: Path) -> None:
    for name, function in handlers_of(module):
        try:
            task = as_task(function, f"{place}/{name}")
        except TypeError as error:
            catalogue.warnings.append(f"{relative}: {name} is not served: {error}")
            continue
        catalogue.add(Callee(task.name, task.function, task, _origin(task)))


def _origin(task: Task[..., Any]) -> str:
    function = inspect.unwrap(task.function)
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)


def _note_broken(catalogue: Catalogue, root: Path, file: Path, name: str | None, error: BaseException) -> None:
    place, message = _where(file, error)
    # The way through the import machinery says nothing about a file that cannot even be compiled.
    text = "".join(
        traceback.format_exception_only(error) if isinstance(error, SyntaxError) else traceback.format_exception(error)
    )
    failure = Failure(type(error).__name__, f"{place}: {message}", text)
    catalogue.warnings.append(f"{place}: {type(error).__name__}: {message}")
    names = set(_tasks_named_in(file))
    functions = set(_functions_named_in(file))
    prefix = place_of(root, file)
    if prefix is not None and not names and "handler" not in functions:
        names = {f"{prefix}/{function}" for function in functions}
    if name is not None and (prefix is None or not names):
        names.add(name)
    for broken in names:
        catalogue.broken[broken] = failure


def _where(file: Path, error: BaseException) -> tuple[str, str]:
    """The place in the user's file, and the message without it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}", error.msg
    line = None
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename) == file:
            line = frame.lineno
    try:
        message = str(error)
    except Exception:
        message = "(unprintable)"
    return (f"{file}:{line}" if line else str(file)), message


def _tasks_named_in(file: Path) -> Iterator[str]:
    """The names of the tasks of a file that cannot be imported, as far as its text tells."""
    for node in ast.walk(_parsed(file)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else None
                target = call.func if call else decorator
                if ast.unparse(target) not in ("riverrun.task", "task"):
                    continue
                named = [word.value for word in call.keywords if word.arg == "name"] if call else []
                if named and isinstance(named[0], ast.Constant) and isinstance(named[0].value, str):
                    yield named[0].value
                elif not named:
                    yield node.name


def _functions_named_in(file: Path) -> Iterator[str]:
    """The names of the public functions of such a file."""
    for node in _parsed(file).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node.name


def _parsed(file: Path) -> ast.Module:
    """The tree of a file; an empty one if it cannot be parsed."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return ast.Module(body=[], type_ignores=[])
