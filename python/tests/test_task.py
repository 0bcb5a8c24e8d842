"""Tasks are functions first."""

from __future__ import annotations

from typing import Any

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


@riverrun.task(queue="images", retries={"max": 2, "never": [ValueError]})
def resize(url: str, width: int = 100) -> str:
    return f"{url}@{width}"


@riverrun.task
def album(pictures: list[str], name: str) -> dict[str, Any]:
    return {name: pictures}


def test_classes_of_exceptions_stand_for_their_names(server: Server) -> None:
    riverrun.connect(server.url)
    server.answers = [(201, run("queued"))]
    resize.submit("a")
    assert server.seen[0].body["retries"] == {"max": 2, "never": ["ValueError"]}


def test_a_unique_start_has_no_id_of_its_own(server: Server) -> None:
    riverrun.connect(server.url)
    server.answers = [(202, {**run("queued"), "duplicate": True})]
    handle = resize.with_options(unique=True).submit("a")
    assert handle.duplicate
    assert server.seen[0].body["unique"] is True
    assert "run_id" not in server.seen[0].body
    with pytest.raises(TypeError, match="unique excludes"):
        resize.with_options(unique=True, continue_id="x").submit("a")


def test_many_calls_are_few_requests(server: Server) -> None:
    riverrun.connect(server.url)
    server.answers = [lambda seen: (200, {"items": [{"run_id": each["run_id"]} for each in seen.body["runs"]]})]
    ids = resize.submit_many({"url": str(n)} for n in range(1500))
    assert [len(seen.body["runs"]) for seen in server.seen] == [1000, 500]
    assert ids == [each["run_id"] for seen in server.seen for each in seen.body["runs"]]
    assert server.seen[1].body["runs"][0]["input"] == {"url": "1000"}
    with pytest.raises(TypeError, match="missing a required argument"):
        resize.submit_many([{"width": 3}])


def test_one_of_many_that_is_refused_is_named(server: Server) -> None:
    riverrun.connect(server.url)
    server.answers = [(200, {"items": [{"run_id": "run_1"}, {"error": {"code": "key_mismatch", "message": "no"}}]})]
    with pytest.raises(riverrun.ApiError, match=r"runs\[1\]: no"):
        resize.submit_many([{"url": "a"}, {"url": "b"}])


def test_a_group_and_what_follows_it(server: Server) -> None:
    riverrun.connect(server.url)
    server.answers = [(201, run("running"))]
    riverrun.group([resize.s("a"), resize.s("b", width=5)], then=album.s(name="x")).submit(labels={"team": "web"})
    body = server.seen[0].body
    assert server.seen[0].path == "/v1/groups"
    assert [part["input"] for part in body["runs"]] == [{"url": "a"}, {"url": "b", "width": 5}]
    assert body["runs"][0]["queue"] == "images"
    assert (body["then"]["into"], body["then"]["input"], body["labels"]) == ("pictures", {"name": "x"}, {"team": "web"})
    assert body["run_id"].startswith("run_")


def test_a_chain_hands_each_result_to_the_parameter_that_was_left_out(server: Server) -> None:
    riverrun.connect(server.url)
    server.answers = [(201, run("running"))]
    riverrun.chain(resize.s("a"), album.s(name="x")).submit()
    first, second = server.seen[0].body["runs"]
    assert (first["input"], "into" in first) == ({"url": "a"}, False)
    assert (second["input"], second["into"]) == ({"name": "x"}, "pictures")
    resize.with_options(then=album.s(name="y")).submit("a")
    assert server.seen[1].body["then"]["into"] == "pictures"
    with pytest.raises(TypeError):
        album.s(nothing=1)


def test_progress_outside_of_a_call_does_nothing() -> None:
    riverrun.progress(1, 2, "half")
