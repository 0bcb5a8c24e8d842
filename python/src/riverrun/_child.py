"""The child side of a worker: executes user code, one attempt at a time, for the supervisor that started it.

The supervisor may send calls ahead. They wait here until their turn comes, or until it wants them back.

The supervisor is at the other end of a socket that arrives as standard input. User code runs in the main thread, so that it
may use signals and so that a stop reaches it even in a blocking call: the supervisor writes a ``stop`` message and sends
SIGUSR1, whose handler reads the message and raises :class:`riverrun.Cancelled` where the code is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import inspect
import os
import select
import signal
import socket
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

from . import __version__
from ._capture import Capture
from ._channel import Channel, Disconnected
from ._context import Context
from ._errors import Cancelled
from ._loader import Callee, Catalogue, load
from ._outcome import Failure, encode_result, failure_of

__all__ = ["main"]


class Child:
    """The loop that takes calls and answers them."""

    def __init__(self, channel: Channel, catalogue: Catalogue, capture: Capture, max_result_bytes: int) -> None:
        self._channel = channel
        self._catalogue = catalogue
        self._capture = capture
        self._max_result_bytes = max_result_bytes
        self._attempt: str | None = None
        # True only while user code is on the stack: outside of it a stop comes too late and is ignored.
        self._interruptible = False
        # A stop has arrived, and has not been raised yet.
        self._stop_pending = False
        self._stopped = False
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # The supervisor has signalled since its messages were looked for.
        self._signalled = False
        self._looking = False
        # Answers about calls that were withdrawn.
        self._unsaid: deque[dict[str, Any]] = deque()
        self._runner: asyncio.Runner | None = None

    def run(self) -> None:
        """Answers calls until the supervisor says ``exit`` or goes away."""
        signal.signal(signal.SIGUSR1, self._on_signal)
        self._channel.after_send = self._after_send
        self._channel.send(
            {
                "ready": {
                    "version": __version__,
                    "python": sys.version.split()[0],
                    "functions": self._catalogue.announce(),
                    "warnings": self._catalogue.warnings,
                }
            }
        )
        while True:
            message = self._channel.receive()
            if "call" in message:
                self._answer(message["call"])
            elif "exit" in message:
                return

    def _answer(self, call: dict[str, Any]) -> None:
        attempt: str = call["attempt"]
        self._stop_pending = self._stopped = False
        self._capture.begin(attempt)
        self._attempt = attempt
        # A signal that came between two attempts may have been about this one, or those behind it.
        self._look()
        output: str | None = None
        answer: dict[str, Any] = {}
        try:
            output = self._execute(call)
        except Failure as failure:
            answer = {"failed": {"attempt": attempt, "failure": failure.to_wire()}}
        except (Cancelled, asyncio.CancelledError):
            answer = {"stopped": {"attempt": attempt}}
        self._attempt = None
        self._capture.end()
        if output is None:
            self._channel.send(answer)
        else:
            self._channel.send_text('{"done":{"attempt":"' + attempt + '","output":' + output + "}}")

    def _execute(self, call: dict[str, Any]) -> str:
        callee = self._catalogue.find(call["function"])
        attempt = call["attempt"]
        context = Context.of(call, lambda status: self._channel.send({"status": {"attempt": attempt, "status": status}}))
        try:
            self._interruptible = True
            self._after_send()
            value = self._call(callee, call["input"], context)
            self._interruptible = False
        except BaseException as error:
            self._interruptible = False
            if self._stopped and isinstance(error, (Cancelled, asyncio.CancelledError)):
                raise
            raise failure_of(error) from None
        return encode_result(value, callee.parses_text, self._max_result_bytes)

    def _call(self, callee: Callee, text: str, context: Context) -> Any:
        result = callee.invoke(text, context)
        if not inspect.isawaitable(result):
            return result

        async def awaited() -> Any:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self._raise_if_pending()
            try:
                return await result
            finally:
                self._task = None

        # One loop for all calls, as long as none leaves anything behind in it: making one costs a millisecond.
        runner = self._runner = self._runner or asyncio.Runner()
        clean = False
        try:
            # The context is a copy of the call's own: a runner would use that of its first call for ever.
            value = runner.run(awaited(), context=contextvars.copy_context())
            clean = not asyncio.all_tasks(runner.get_loop())
            return value
        finally:
            if not clean:
                self._runner = None
                runner.close()

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._signalled = True
        # Idle, the main loop itself reads the socket: this must not read beside it.
        if self._attempt is None:
            return
        self._look()
        # In the middle of a frame neither an exception nor another frame may come; the channel calls back at its end.
        if not self._channel.sending:
            self._after_send()

    def _look(self) -> None:
        """Looks for what the supervisor wants done at once, if it has signalled."""
        if self._looking:
            return
        while self._signalled:
            self._signalled = False
            self._looking = True
            stops, withdrawn = self._channel.take_ready()
            self._looking = False
            if self._attempt in stops:
                self._stop_pending = self._stopped = True
            for attempt in withdrawn:
                self._unsaid.append({"stopped" if attempt in stops else "returned": {"attempt": attempt}})

    def _after_send(self) -> None:
        while self._unsaid:
            self._channel.send(self._unsaid.popleft())
        self._raise_if_pending()

    def _raise_if_pending(self) -> None:
        if not (self._stop_pending and self._interruptible):
            return
        if threading.current_thread() is not threading.main_thread():
            return
        self._stop_pending = False
        if self._task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        else:
            raise Cancelled("the attempt was told to stop")


def main(arguments: list[str] | None = None) -> None:
    """Runs a child; the supervisor's way in."""
    parser = argparse.ArgumentParser(prog="riverrun._child", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--max-output-bytes", type=int, required=True)
    parser.add_argument("--max-result-bytes", type=int, required=True)
    options = parser.parse_args(arguments)
    connection = _take_over_stdin()
    _end_with(connection)
    channel = Channel(connection)
    capture = Capture(channel, options.max_output_bytes)
    try:
        capture.install()
        catalogue = load(options.folder, lambda file: channel.send({"loading": {"file": str(file)}}))
        Child(channel, catalogue, capture, options.max_result_bytes).run()
    except Disconnected:
        # The supervisor is gone, and with it the right to report anything.
        pass


def _take_over_stdin() -> socket.socket:
    """Moves the socket away from standard input, so that user code that reads it sees an empty one."""
    connection = socket.socket(fileno=os.dup(0))
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return connection


def _end_with(connection: socket.socket) -> None:
    """Ends this process and its descendants when the supervisor dies, even while user code is executing."""

    def watch() -> None:
        poll = select.poll()
        # No events asked for: only the hang-up is reported, and the thread sleeps until then.
        poll.register(connection.fileno(), 0)
        poll.poll()
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="riverrun-supervisor-watch", daemon=True).start()
