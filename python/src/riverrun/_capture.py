"""Captures what user code prints and logs, per attempt."""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
import threading
from typing import BinaryIO, cast

from ._channel import Channel

__all__ = ["Capture"]

_DESCRIPTORS = {"stdout": 1, "stderr": 2, "log": 2}


class Capture:
    """Sends the output of the attempt that is executing to the supervisor, up to a limit.

    The supervisor cuts at the limit and says so; this side only stops sending soon after, so that a flood costs little.
    """

    def __init__(self, channel: Channel, max_output_bytes: int) -> None:
        self._channel = channel
        self._limit = max_output_bytes
        self._attempt: str | None = None
        self._sent = 0
        self._lock = threading.RLock()
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._streams = {name: self._stream(name) for name in ("stdout", "stderr")}

    def install(self) -> None:
        """Takes the place of the process's output streams and of logging's root handler."""
        sys.stdout, sys.stderr = self._streams["stdout"], self._streams["stderr"]
        os.register_at_fork(after_in_child=self._detach)
        root = logging.getLogger()
        if not any(isinstance(handler, _Handler) for handler in root.handlers):
            handler = _Handler(self)
            handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
            root.addHandler(handler)
        if root.level == logging.WARNING:
            root.setLevel(logging.INFO)

    def begin(self, attempt: str) -> None:
        """From now on output belongs to this attempt."""
        for name, stream in self._streams.items():
            if stream.closed:
                self._streams[name] = self._stream(name)
        sys.stdout, sys.stderr = self._streams["stdout"], self._streams["stderr"]
        with self._lock:
            self._attempt = attempt
            self._sent = 0
            self._decoders.clear()

    def end(self) -> None:
        """Sends what is still held back; later output belongs to nobody."""
        for stream in self._streams.values():
            if not stream.closed:
                stream.flush()
        with self._lock:
            for name in list(self._decoders):
                self.write(name, b"", final=True)
            self._attempt = None

    def write(self, name: str, data: bytes, final: bool = False) -> None:
        """Sends a piece of a stream. Bytes that are not UTF-8 are shown as replacement characters."""
        with self._lock:
            if self._attempt is None:
                os.write(_DESCRIPTORS[name], data)
                return
            if self._sent > self._limit:
                return
            decoder = self._decoders.get(name)
            if decoder is None:
                decoder = self._decoders[name] = codecs.getincrementaldecoder("utf-8")("replace")
            # One byte over the limit is what tells the supervisor that something is missing.
            text = decoder.decode(data[: self._limit + 1 - self._sent], final)
            self._sent += len(data)
            if text:
                self._channel.send({"log": {"attempt": self._attempt, "stream": name, "text": text}})

    def _detach(self) -> None:
        """In a process that user code has forked: two must not write into one channel, so output takes the descriptors."""
        self._lock = threading.RLock()
        self._attempt = None

    def _stream(self, name: str) -> io.TextIOWrapper:
        # Without a buffered writer between: a stop that is raised while it writes would make it write the same again.
        sink = cast("BinaryIO", _Sink(self, name))
        return io.TextIOWrapper(sink, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class _Sink(io.RawIOBase):
    # Closing it leaves the descriptor open, which is the process's own.
    def __init__(self, capture: Capture, name: str) -> None:
        self._capture = capture
        self._stream_name = name

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _DESCRIPTORS[self._stream_name]

    def write(self, data: object, /) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._capture.write(self._stream_name, piece)
        return len(piece)


class _Handler(logging.Handler):
    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + "\n"
        except Exception:
            self.handleError(record)
            return
        self._capture.write("log", text.encode("utf-8", "backslashreplace"))
