"""The child says what the transcript says, and frames are read however they were cut."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest

import riverrun
from riverrun._channel import Decoder, FrameError, encode

DOCS = Path(__file__).parents[2] / "docs/worker-protocol"


def transcript(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DOCS / name).read_text().splitlines()]


@pytest.mark.parametrize("name", ["session.jsonl", "reconnect.jsonl", "child.jsonl"])
def test_transcripts_survive_frames_in_any_pieces(name: str) -> None:
    lines = transcript(name)
    data = b"".join(encode(json.dumps(line["messages"], ensure_ascii=False)) for line in lines)
    expected = [message for line in lines for message in line["messages"]]
    for size in (1, 3, 7, 64, len(data)):
        decoder = Decoder()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [message for piece in pieces for message in decoder.feed(piece)] == expected


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"\xff", b"[" * 100_000])
def test_a_frame_that_is_no_array_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        list(Decoder().feed(len(body).to_bytes(4, "big") + body))
    with pytest.raises(FrameError, match="max_frame"):
        list(Decoder(limit=10).feed((11).to_bytes(4, "big")))


class Child:
    """A child process, seen from the supervisor's end."""

    def __init__(self, folder: Path) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        source = Path(riverrun.__file__).parents[1]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from riverrun._child import main; main()", str(folder)),
                *("--max-output-bytes=100000", "--max-result-bytes=100000"),
            ],
            stdin=theirs.fileno(),
            env={**os.environ, "PYTHONPATH": str(source)},
            start_new_session=True,
        )
        theirs.close()
        self._decoder = Decoder()
        self._inbox: deque[Any] = deque()

    def read(self) -> Any:
        while not self._inbox:
            data = self.socket.recv(65536)
            assert data, "the child closed the connection"
            self._inbox.extend(self._decoder.feed(data))
        return self._inbox.popleft()

    def send(self, messages: list[Any]) -> None:
        self.socket.sendall(encode(json.dumps(messages)))
        if any("stop" in message or "give_back" in message for message in messages):
            self.process.send_signal(signal.SIGUSR1)


def test_the_child_speaks_as_the_transcript() -> None:
    folder = DOCS / "functions"
    child = Child(folder)
    text = (DOCS / "child.jsonl").read_text()
    places = {"FOLDER": str(folder.resolve()), "VERSION": riverrun.__version__, "PYTHON": sys.version.split()[0]}
    for word, place in places.items():
        text = text.replace(word, place)
    for line in map(json.loads, text.splitlines()):
        if line["from"] == "supervisor":
            child.send(line["messages"])
            continue
        for expected in line["messages"]:
            said = child.read()
            if "failed" in said:
                said["failed"]["failure"]["details"]["traceback"] = "…"
            assert said == expected
    assert child.process.wait(60) == 0


def test_a_child_ends_with_its_supervisor_even_while_it_executes(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "import riverrun\n@riverrun.task\ndef loop():\n    print('begun', flush=True)\n    while True: pass\n"
    )
    child = Child(tmp_path)
    while "ready" not in child.read():
        pass
    call = {"attempt": "run_1.1.1", "function": "loop", "input": "{}", "definition": "d", "path": "p", "idempotency_key": "k"}
    child.send([{"call": call}])
    assert child.read()["log"]["text"] == "begun\n"
    child.socket.close()
    assert child.process.wait(60) == -signal.SIGKILL


ASYNC = """
import asyncio
import riverrun

@riverrun.task
async def where():
    asyncio.current_task().set_name("x")
    return [riverrun.current_context().attempt, id(asyncio.get_running_loop())]

@riverrun.task
async def litter():
    litter.task = asyncio.create_task(asyncio.sleep(1000))
    return None

@riverrun.task
def forks():
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(4) as pool:
        return sum(pool.map(shout, range(200)))

def shout(number):
    print("x" * 100)
    return number

@riverrun.task
async def fails():
    raise LookupError("nothing")
"""


def test_calls_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(ASYNC)
    child = Child(tmp_path)
    while "ready" not in child.read():
        pass

    def call(function: str, attempt: int) -> Any:
        common = {"input": "{}", "definition": "d", "path": "p", "idempotency_key": "k"}
        child.send([{"call": {"attempt": f"run_1.1.{attempt}", "function": function, **common}}])
        return child.read()

    first, second = call("where", 1)["done"]["output"], call("where", 2)["done"]["output"]
    assert (first[0], second[0]) == (1, 2)
    assert first[1] == second[1]
    assert "done" in call("litter", 3)
    assert call("fails", 4)["failed"]["failure"]["error"] == "LookupError"
    assert call("where", 5)["done"]["output"][0] == 5
    assert call("forks", 6)["done"]["output"] == 19900
    child.send([{"exit": {}}])
    assert child.process.wait(60) == 0
