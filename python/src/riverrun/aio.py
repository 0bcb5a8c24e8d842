"""The client for ``async`` code: the same calls as in :mod:`riverrun`, on asyncio streams.

client = riverrun.aio.AsyncClient()
output = await client.run("polling", {"delay": 20}, continue_id="nightly")
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Generator
from typing import Any

from . import _requests as requests
from . import _schedules as schedules
from ._requests import Address, Answer, Request, Retry, SeenRun

__all__ = ["AsyncClient", "AsyncHandle", "connect", "get", "run", "start"]

_MAX_HEAD = 1 << 16


class AsyncClient:
    """A connection to a server, for ``async`` code. See :class:`riverrun.Client`, whose arguments it takes."""

    def __init__(self, server: str | None = None, token: str | None = None, *, retry_for: float = 30.0) -> None:
        self._address = Address.parse(server, token)
        self._retry_for = retry_for
        self._idle: list[_Connection] = []

    async def start(
        self, name: str, input: Any = None, *, kind: str | None = None, run_id: str | None = None, **options: Any
    ) -> AsyncHandle:
        """:meth:`riverrun.Client.start`."""
        return AsyncHandle(self, await self._call(requests.start_run(name, input, kind, run_id, None, options)))

    async def run(self, name: str, input: Any = None, *, timeout: float | None = None, **options: Any) -> Any:
        """:meth:`riverrun.Client.run`."""
        handle, end = await self._start_and_wait(name, input, timeout, options)
        return await handle._result(end, timeout)

    async def _start_and_wait(
        self, name: str, input: Any, timeout: float | None, options: dict[str, Any]
    ) -> tuple[AsyncHandle, float | None]:
        end = None if timeout is None else time.monotonic() + timeout
        kind, run_id = options.pop("kind", None), options.pop("run_id", None)
        request = requests.start_run(name, input, kind, run_id, requests.next_wait(end), options)
        return AsyncHandle(self, await self._call(request)), end

    async def get(self, run_id: str) -> AsyncHandle:
        """:meth:`riverrun.Client.get`."""
        return AsyncHandle(self, await self._call(requests.get_run(run_id)))

    async def runs(self, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """:meth:`riverrun.Client.runs`."""
        cursor: str | None = filters.pop("cursor", None)
        while True:
            page = await self._call(requests.list_runs({**filters, "cursor": cursor}))
            for run in page["items"]:
                yield run
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def create_schedule(self, name: str, when: str, definition: str, input: Any = None, **options: Any) -> dict[str, Any]:
        """:meth:`riverrun.Client.create_schedule`."""
        return dict(await self._call(schedules.put(name, when, definition, input, options)))

    async def schedule(self, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """:meth:`riverrun.Client.schedule`."""
        return dict(await self._call(schedules.show(name, namespace)))

    async def schedules(self, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """:meth:`riverrun.Client.schedules`."""
        cursor: str | None = filters.pop("cursor", None)
        while True:
            page = await self._call(schedules.listing({**filters, "cursor": cursor}))
            for schedule in page["items"]:
                yield schedule
            cursor = page.get("next_cursor")
            if not cursor:
                return

    async def pause_schedule(self, name: str, reason: str | None = None, *, namespace: str | None = None) -> dict[str, Any]:
        """:meth:`riverrun.Client.pause_schedule`."""
        return dict(await self._call(schedules.steer("pause", name, namespace, {"reason": reason})))

    async def resume_schedule(self, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """:meth:`riverrun.Client.resume_schedule`."""
        return dict(await self._call(schedules.steer("resume", name, namespace)))

    async def trigger_schedule(self, name: str, *, namespace: str | None = None) -> AsyncHandle:
        """:meth:`riverrun.Client.trigger_schedule`."""
        return AsyncHandle(self, await self._call(schedules.trigger(name, namespace)))

    async def backfill_schedule(
        self, name: str, from_: str, to: str | None = None, *, dry_run: bool = False, namespace: str | None = None
    ) -> list[dict[str, Any]]:
        """:meth:`riverrun.Client.backfill_schedule`."""
        return list((await self._call(schedules.backfill(name, namespace, from_, to, dry_run)))["items"])

    async def delete_schedule(self, name: str, *, namespace: str | None = None) -> None:
        """:meth:`riverrun.Client.delete_schedule`."""
        await self._call(schedules.delete(name, namespace))

    async def close(self) -> None:
        """Closes idle connections. The client can be used again."""
        while self._idle:
            self._idle.pop().close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, request: Request) -> Any:
        retry = Retry(self._retry_for)
        while True:
            connection = self._idle_connection() if request.repeatable else None
            used = connection is not None
            sent = False
            try:
                if connection is None:
                    connection = await _Connection.open(self._address)
                sent = True
                answer = await self._exchange(connection, request)
            except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
                if connection is not None:
                    connection.close()
                if used and request.repeatable and not isinstance(error, TimeoutError):
                    # The server closed an idle connection: that says nothing about the request.
                    continue
                await asyncio.sleep(retry.after_error(request, self._address, error, sent))
                continue
            except BaseException:
                # Cancelled in the middle: what comes over this connection later answers nobody.
                if connection is not None:
                    connection.close()
                raise
            delay = retry.after_answer(request, answer)
            if delay is None:
                return answer.value()
            await asyncio.sleep(delay)

    async def _exchange(self, connection: _Connection, request: Request) -> Answer:
        async with asyncio.timeout(request.patience):
            answer = await connection.exchange(request, self._address)
        if answer.headers.get("connection", "").lower() == "close" or len(self._idle) >= 16:
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    def _idle_connection(self) -> _Connection | None:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            # One that belongs to another loop is of no use in this one.
            if connection.loop is loop and not connection.reader.at_eof():
                return connection
            connection.close()
        return None


class AsyncHandle(SeenRun):
    """A run that was started. See :class:`riverrun.Handle`; ``await handle`` is :meth:`result`."""

    def __init__(self, client: AsyncClient, run: dict[str, Any]) -> None:
        self._client = client
        self._run = run

    async def result(self, timeout: float | None = None) -> Any:
        """:meth:`riverrun.Handle.result`."""
        return await self._result(None if timeout is None else time.monotonic() + timeout, timeout)

    async def _result(self, end: float | None, timeout: float | None) -> Any:
        await self._closed(end, timeout)
        return requests.result_of(self._run)

    async def _closed(self, end: float | None, timeout: float | None) -> None:
        while self._run["state"] not in requests.CLOSED:
            wait = requests.next_wait(end)
            await self._refresh(wait)
            if wait == 0.0 and self._run["state"] not in requests.CLOSED:
                raise requests.not_ended(self._run, timeout)

    async def status(self) -> str:
        """:meth:`riverrun.Handle.status`."""
        await self._refresh()
        return str(self._run["state"])

    async def cancel(self, reason: str | None = None) -> None:
        """:meth:`riverrun.Handle.cancel`."""
        await self._client._call(requests.act_on_run(self.id, "cancel", {"reason": reason} if reason else None))

    async def pause(self) -> None:
        """:meth:`riverrun.Handle.pause`."""
        await self._client._call(requests.act_on_run(self.id, "pause"))

    async def resume(self) -> None:
        """:meth:`riverrun.Handle.resume`."""
        await self._client._call(requests.act_on_run(self.id, "resume"))
        await self._refresh()

    async def signal(self, name: str, payload: Any = None) -> None:
        """:meth:`riverrun.Handle.signal`."""
        body = {"name": name, "payload": payload, "id": requests.new_run_id()}
        await self._client._call(requests.act_on_run(self.id, "signal", body))

    async def delete(self) -> None:
        """:meth:`riverrun.Handle.delete`."""
        await self._client._call(Request("DELETE", requests.get_run(self.id).path))

    async def journal(self) -> AsyncIterator[dict[str, Any]]:
        """:meth:`riverrun.Handle.journal`."""
        after = 0
        while True:
            page = await self._client._call(requests.read_journal(self.id, after))
            for entry in page["items"]:
                yield entry
            if not page["items"]:
                return
            after = page["next_after"]

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    def __repr__(self) -> str:
        return f"<riverrun.AsyncHandle {self.id} {self._run.get('state')}>"

    async def _refresh(self, wait: float = 0.0) -> None:
        self._run = {**self._run, **await self._client._call(requests.get_run(self.id, wait))}


class _Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        self.loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, address: Address) -> _Connection:
        async with asyncio.timeout(requests.SOCKET_TIMEOUT):
            context = ssl.create_default_context() if address.tls else None
            return cls(*await asyncio.open_connection(address.host, address.port, ssl=context, limit=_MAX_HEAD))

    async def exchange(self, request: Request, address: Address) -> Answer:
        head = [f"{request.method} {address.prefix}{request.path} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in request.headers(address).items()]
        # Head and body in one write: two would wait for each other's acknowledgement.
        self._writer.write("\r\n".join((*head, "", "")).encode("latin-1") + (request.body or b""))
        await self._writer.drain()
        while True:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ", 2)[1])
            if status >= 200:
                break
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if name}
        return Answer(status, headers, await self._body(status, headers))

    async def _body(self, status: int, headers: dict[str, str]) -> bytes:
        if status in (204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                chunks.append(await self.reader.readexactly(size))
                await self.reader.readexactly(2)
            while await self.reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return b"".join(chunks)
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        return await self.reader.read()

    def close(self) -> None:
        try:
            self._writer.close()
        except RuntimeError:
            # Its loop is closed, and the connection with it.
            pass


_default: AsyncClient | None = None


def connect(server: str | None = None, token: str | None = None, *, retry_for: float = 30.0) -> AsyncClient:
    """Makes the client that :func:`start`, :func:`run` and :func:`get` use from now on, and returns it."""
    global _default
    _default = AsyncClient(server, token, retry_for=retry_for)
    return _default


def default_client() -> AsyncClient:
    """The client of :func:`connect`; without that one, the server that the environment names."""
    return _default or connect()


async def start(name: str, input: Any = None, **options: Any) -> AsyncHandle:
    """:meth:`AsyncClient.start` on the connected server."""
    return await default_client().start(name, input, **options)


async def run(name: str, input: Any = None, *, timeout: float | None = None, **options: Any) -> Any:
    """:meth:`AsyncClient.run` on the connected server."""
    return await default_client().run(name, input, timeout=timeout, **options)


async def get(run_id: str) -> AsyncHandle:
    """:meth:`AsyncClient.get` on the connected server."""
    return await default_client().get(run_id)
