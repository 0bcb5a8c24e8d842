"""A folder of handlers, and the parameters that functions announce."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict

import pytest

import riverrun
from riverrun._context import Context
from riverrun._loader import Catalogue, load
from riverrun._outcome import Failure
from riverrun._parameters import schema_of

CALL = {
    "attempt": "run_0000000000000aqgx0cmx1d5qt.1.1",
    "function": "/demo_api/ping",
    "definition": "/demo_api/ping",
    "path": "task",
    "idempotency_key": "k",
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Catalogue]]:
    """Writes files into a folder called ``handlers`` and loads it; forgets it all at the end."""
    before, path = set(sys.modules), list(sys.path)

    def write(files: dict[str, str]) -> Catalogue:
        for name, text in files.items():
            file = tmp_path / "handlers" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return load(tmp_path / "handlers")

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def call(catalogue: Catalogue, name: str, text: str = "{}") -> Any:
    def invoke() -> Any:
        value = catalogue.find(name).invoke(text, Context.of({**CALL, "function": name}))
        return asyncio.run(value) if asyncio.iscoroutine(value) else value

    # In a context of its own, as a child has it.
    return contextvars.copy_context().run(invoke)


DEMO = """
import json
from os.path import join
from riverrun import new_run_id

def ping(req):
    req.log_params["x"] = 1
    return "OK", {"reqid": req.reqid, "funcname": req.funcname}, [("demo", "1.0.1")]

def hello(req, str_info: str):
    return "OK", {"str_info": str_info}

def bare(req):
    return "ERR_NO_BACKENDS"

def refuses(req):
    return "ERR_BAD_PARAMS", {}

async def plain(a: int, b: int = 2):
    return [a, b]

async def later():
    return "OK", {"data": {"x": 1}}

def _private():
    pass
"""


def test_module_and_function_make_the_name(folder: Callable[[dict[str, str]], Catalogue]) -> None:
    catalogue = folder(
        {
            "demo_api.py": DEMO,
            "__init__.py": "def nothing(): pass\n",
            "shop/__init__.py": "def open(): return 1\n",
            "shop/mail.py": "__all__ = ['send']\ndef send(): return 2\ndef helper(): pass\n",
            "shop/sell.py": "def handler(event, context): return {}\ndef helper(): pass\n",
            "tasks.py": "import riverrun\n@riverrun.task\ndef greet(): return 3\ndef helper(): pass\n",
        }
    )
    demo = {f"/demo_api/{name}" for name in ("ping", "hello", "bare", "refuses", "plain", "later")}
    assert set(catalogue.callees) == {*demo, "/shop/open", "/shop/mail/send", "shop/sell", "greet"}
    assert (catalogue.broken, catalogue.warnings) == ({}, [])
    assert [call(catalogue, name) for name in ("/shop/open", "/shop/mail/send", "greet")] == [1, 2, 3]


def test_a_handler_answers_with_a_status_and_data(folder: Callable[[dict[str, str]], Catalogue]) -> None:
    catalogue = folder({"demo_api.py": DEMO})
    assert list(call(catalogue, "/demo_api/ping").items()) == [
        ("stat", "OK"),
        ("reqid", "ABC3A0653A1696FA"),
        ("funcname", "/demo_api/ping"),
    ]
    assert call(catalogue, "/demo_api/hello", '{"str_info": "x"}') == {"stat": "OK", "str_info": "x"}
    assert call(catalogue, "/demo_api/later") == {"stat": "OK", "data": {"x": 1}}
    # Another status than the two that mean a failure is an answer like any other.
    assert call(catalogue, "/demo_api/bare") == {"stat": "ERR_NO_BACKENDS"}
    with pytest.raises(Failure) as failed:
        call(catalogue, "/demo_api/refuses")
    assert (failed.value.error, failed.value.retryable) == ("ERR_BAD_PARAMS", False)
    assert call(catalogue, "/demo_api/plain", '{"a": 1}') == [1, 2]
    with pytest.raises(Failure, match="unexpected keyword argument 'req'"):
        call(catalogue, "/demo_api/ping", '{"req": 1}')


def test_outside_of_handlers_a_plain_function_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text("def helper(): pass\n")
    catalogue = load(tmp_path)
    assert not catalogue.callees
    assert "in a folder called handlers" in catalogue.warnings[0]


def test_a_broken_module_of_handlers_fails_by_its_names(folder: Callable[[dict[str, str]], Catalogue]) -> None:
    catalogue = folder({"demo_api.py": "import nowhere_to_be_found\ndef ping(req): pass\ndef _x(): pass\n"})
    assert [function["name"] for function in catalogue.announce()] == ["/demo_api/ping"]
    assert "ModuleNotFoundError" in catalogue.announce()[0]["broken"]


def test_what_the_decorator_says_is_announced_but_for_what_is_of_one_call(
    folder: Callable[[dict[str, str]], Catalogue],
) -> None:
    tasks = """
        import riverrun
        from datetime import timedelta

        @riverrun.task(at_most_once=True, queue="mail", timeout=timedelta(minutes=1), retries={"max": 2, "never": [KeyError]},
                       delay=5, unique=True, labels={"team": "red"})
        def send(): pass

        @riverrun.task
        def plain(): pass

        @riverrun.task(at_most_onse=True)
        def slip(): pass

        @riverrun.task(queue=object())
        def odd(): pass
        """
    catalogue = folder({"jobs.py": textwrap.dedent(tasks)})
    announced = {function["name"]: function for function in catalogue.announce()}
    options = {"at_most_once": True, "queue": "mail", "timeout": 60.0, "retries": {"max": 2, "never": ["KeyError"]}}
    assert announced["send"]["options"] == options
    assert "options" not in announced["plain"]
    assert "unknown option 'at_most_onse'" in announced["slip"]["broken"]
    assert "queue is <object" in announced["odd"]["broken"]
    with pytest.raises(Failure, match="at_most_onse"):
        call(catalogue, "slip")


def test_what_cannot_be_given_by_name_is_not_served(folder: Callable[[dict[str, str]], Catalogue]) -> None:
    catalogue = folder({"demo_api.py": "def ping(req, a, /): pass\n"})
    assert not catalogue.callees
    assert "'a' cannot be given by name" in catalogue.warnings[0] or "'req'" in catalogue.warnings[0]


class Place(TypedDict):
    city: str
    code: NotRequired[int]


def takes(
    a: int,
    b: float,
    c: str | None,
    d: Annotated[bool, "yes or no"],
    e: list[int],
    f: dict[str, list[str]],
    g: Place,
    h: Literal["x", "y"] = "x",
    i: Optional[int] = None,  # noqa: UP045 - the older way is read as well
    j: int = None,  # type: ignore[assignment]  # noqa: RUF013
    k: Any = object(),  # noqa: B008
    *,
    m: Sequence[str] = (),
    n: Mapping[str, int] | int = 1,
    o: Path = Path(),
    **rest: int,
) -> None: ...


def test_hints_become_a_schema() -> None:
    schema = riverrun.task(takes)
    found = schema_of(schema.function, schema.signature)
    assert found["required"] == ["a", "b", "c", "d", "e", "f", "g"]
    assert found["additionalProperties"] == {"type": "integer"}
    assert found["properties"] == {
        "a": {"type": "integer"},
        "b": {"type": "number"},
        "c": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "d": {"type": "boolean"},
        "e": {"type": "array", "items": {"type": "integer"}},
        "f": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
        "g": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "code": {"type": "integer"}},
            "required": ["city"],
        },
        "h": {"enum": ["x", "y"], "default": "x"},
        "i": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "j": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "k": {},
        "m": {"type": "array", "items": {"type": "string"}, "default": []},
        "n": {"anyOf": [{"type": "object", "additionalProperties": {"type": "integer"}}, {"type": "integer"}], "default": 1},
        "o": {},
    }


def test_hints_that_cannot_be_read_check_nothing() -> None:
    namespace: dict[str, Any] = {}
    exec(
        "from __future__ import annotations\ndef f(a: Nowhere, b: 'int', *args, c: 1 + 1 = [1]): ...\n"
        "class Tree(dict): ...\nListOf = list['ListOf']\n",
        namespace,
    )
    task = riverrun.task(namespace["f"])
    assert schema_of(task.function, task.signature) == {
        "type": "object",
        "properties": {"a": {}, "b": {}, "c": {"default": [1]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
