"""Tasks are functions first."""

from __future__ import annotations

import pytest

import riverrun
from conftest import Server, run


@riverrun.task
def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


@riverrun.task(name="mail/send", queue="mail", retries=3)
def send(to: str, /, **more: str) -> None: ...


def test_called_plainly_it_runs() -> None:
    assert add(1) == 3
    assert (add.name, add.__name__, add.__doc__) == ("add", "add", "Adds.")
    assert (send.name, send.options) == ("mail/send", {"queue": "mail", "retries": 3})


def test_submit_queues_it_with_its_options(server: Server) -> None:
    riverrun.connect(server.url)
    server.answers = [(201, run("queued"))]
    assert add.with_options(priority=9).submit(1).id == "run_1"
    body = server.seen[0].body
    assert (body["definition"], body["kind"], body["input"], body["priority"]) == ("add", "task", {"a": 1}, 9)


def test_arguments_are_checked_when_it_is_submitted(server: Server) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        add.submit()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="to cannot be passed by name"):
        send.submit("me")
    assert not server.seen


def test_a_task_can_be_a_method() -> None:
    class Shop:
        @riverrun.task
        def price(self, pieces: int) -> int:
            return pieces * 2

    assert Shop().price(3) == 6


def test_there_is_no_context_outside_of_a_call() -> None:
    with pytest.raises(RuntimeError, match="not called by a Riverrun worker"):
        riverrun.current_context()
