"""Frames over a socket: a length of four bytes, big-endian, and a JSON array of messages."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Channel", "Decoder", "Disconnected", "FrameError", "encode"]

MAX_FRAME = 64 << 20
"""The longest frame that is read, in bytes: the same limit as on the other side."""


class Disconnected(Exception):
    """The other side has closed the connection."""


class FrameError(ValueError):
    """A frame that cannot be read."""


def encode(text: str) -> bytes:
    """One frame with the array whose JSON text is given."""
    # A path that is no text comes as half a character.
    body = text.encode(errors="replace")
    return len(body).to_bytes(4, "big") + body


class Decoder:
    """Turns bytes, however they were cut, into messages."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[Any]:
        """Takes more bytes and yields the messages that are complete now."""
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > self._limit:
                raise FrameError(f"a frame of {length} bytes is over the limit max_frame of {self._limit} bytes")
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            try:
                messages = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise FrameError(f"a frame is not a JSON array of messages: {error}") from None
            if not isinstance(messages, list):
                raise FrameError("a frame is not a JSON array of messages")
            yield from messages


class Channel:
    """The connection to the supervisor. Sending is safe from any thread; receiving belongs to the main one."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = Decoder()
        self._inbox: deque[dict[str, Any]] = deque()
        self._lock = threading.Lock()
        self._senders: set[int] = set()
        self.after_send: Callable[[], None] = lambda: None

    @property
    def sending(self) -> bool:
        """Whether the calling thread is in the middle of sending."""
        return threading.get_ident() in self._senders

    def send(self, message: dict[str, Any]) -> None:
        """Sends one message."""
        self.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    def send_text(self, message: str) -> None:
        """Sends one message whose JSON text is given."""
        frame = encode("[" + message + "]")
        me = threading.get_ident()
        self._senders.add(me)
        try:
            with self._lock:
                self._connection.sendall(frame)
        except OSError as error:
            raise Disconnected(str(error)) from None
        finally:
            self._senders.discard(me)
        self.after_send()

    def receive(self) -> dict[str, Any]:
        """Waits for the next message."""
        while not self._inbox:
            data = self._connection.recv(1 << 18)
            if not data:
                raise Disconnected("the supervisor closed the connection")
            self._inbox.extend(self._decoder.feed(data))
        return self._inbox.popleft()

    def take_ready(self) -> tuple[set[str], list[str]]:
        """What has arrived and must not wait for its turn: the attempts to stop, and those whose calls are withdrawn with that.

        A call is withdrawn if its attempt is to stop, and each is if they are to be given back. All other messages are left for
        :meth:`receive`.
        """
        while True:
            try:
                data = self._connection.recv(1 << 18, socket.MSG_DONTWAIT)
            except OSError:
                break
            if not data:
                break
            self._inbox.extend(self._decoder.feed(data))
        stops = {message["stop"]["attempt"] for message in self._inbox if "stop" in message}
        give_back = any("give_back" in message for message in self._inbox)
        kept: deque[dict[str, Any]] = deque()
        withdrawn: list[str] = []
        for message in self._inbox:
            call = message.get("call")
            if call is not None and (give_back or call["attempt"] in stops):
                withdrawn.append(call["attempt"])
            elif "stop" not in message and "give_back" not in message:
                kept.append(message)
        self._inbox = kept
        return stops, withdrawn
