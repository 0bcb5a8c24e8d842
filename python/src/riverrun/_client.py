"""The client: starts runs and follows them."""

from __future__ import annotations

import http.client
import queue
import ssl
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _requests as requests
from . import _schedules as schedules
from ._errors import ApiError
from ._requests import Address, Answer, Request, Retry, SeenRun

if TYPE_CHECKING:
    from ._task import Task

__all__ = ["Client", "Handle", "connect", "default_client", "get", "run", "start"]


class Client:
    """A connection to a server, for ordinary code; :class:`riverrun.aio.AsyncClient` is for ``async`` code.

    Safe to use from any thread. Connections are kept and used again. What cannot be answered now (503, a connection that
    breaks) is tried again for ``retry_for`` seconds; each start carries an id or a key, so that nothing is started twice.

    Args:
        server: ``http://host:port``; ``RIVERRUN_SERVER`` or ``http://127.0.0.1:7733`` unless given.
        token: the server's access token; ``RIVERRUN_TOKEN`` unless given.
        retry_for: how long to go on trying, in seconds; 0 for one try.
    """

    def __init__(self, server: str | None = None, token: str | None = None, *, retry_for: float = 30.0) -> None:
        self._address = Address.parse(server, token)
        self._retry_for = retry_for
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue(maxsize=16)

    def start(
        self, name: str, input: Any = None, *, kind: str | None = None, run_id: str | None = None, **options: Any
    ) -> Handle:
        """Starts a run, or finds the one that its ``continue_id`` stands for, and returns a handle at once.

        Args:
            name: the definition: a flow's or a task's name.
            input: a JSON value; a flow takes an object.
            kind: ``flow`` or ``task``, where two definitions share a name.
            run_id: an id of one's own (:func:`riverrun.new_run_id`): the same id again gives the same run.
            options: ``continue_id``, ``on_success``, ``on_failure``, ``on_running``, ``on_input``, ``allow_new_input``,
                ``force``, ``ttl``, ``max_generations``, ``fingerprint_paths``, ``labels``, ``timeout``, ``delay``,
                ``run_at``, ``queue``, ``priority``, ``version``, ``namespace``, ….

        Raises:
            ApiError: the server refuses: unknown definition, other input under the same key, ….
            Unreachable: it cannot be reached.
            InvalidJson: the input is not JSON.
        """
        return Handle(self, self._call(requests.start_run(name, input, kind, run_id, None, options)))

    def run(self, name: str, input: Any = None, *, timeout: float | None = None, **options: Any) -> Any:
        """Starts a run, waits for its end and returns its output. Takes the same arguments as :meth:`start`.

        Args:
            timeout: how long to wait, in seconds; the run itself goes on after that. None waits for ever.

        Raises:
            RunError: the run failed, timed out, was cancelled or expired.
            ResultTimeout: it had not ended in time.
        """
        end = None if timeout is None else time.monotonic() + timeout
        kind, run_id = options.pop("kind", None), options.pop("run_id", None)
        started = self._call(requests.start_run(name, input, kind, run_id, requests.next_wait(end), options))
        return Handle(self, started)._result(end, timeout)

    def submit_many(self, task: Task[..., Any], calls: Iterable[Mapping[str, Any]], **options: Any) -> list[str]:
        """Queues many calls of a task and returns the ids of their runs, in order; see :meth:`Task.submit_many`."""
        merged = {**task.options, **options}
        inputs = [task.input_for(**call) for call in calls]
        return self.start_many([requests.spec_of(task.name, value, "task", merged) for value in inputs])

    def start_many(self, starts: Sequence[dict[str, Any]], *, namespace: str | None = None) -> list[str]:
        """Starts many runs, one commit for each thousand of them, and returns their ids, in order.

        Args:
            starts: what :meth:`start` takes, as the HTTP API has it: ``{"definition": …, "kind": …, "input": …, …}``.

        Raises:
            ApiError: the server refuses one: the others of its thousand are started all the same.
        """
        ids: list[str] = []
        for first in range(0, len(starts), _BATCH):
            part = [_repeatable(start) for start in starts[first : first + _BATCH]]
            answer = self._call(requests.start_many(part, namespace))
            for at, item in enumerate(answer["items"], first):
                if "error" in item:
                    raise ApiError(409, item["error"]["code"], f"runs[{at}]: {item['error']['message']}", item["error"])
                ids.append(item["run_id"])
        return ids

    def compose(self, what: str, body: dict[str, Any]) -> Handle:
        """Starts a group or a chain; see :func:`riverrun.group` and :func:`riverrun.chain`."""
        return Handle(self, self._call(requests.start_composed(what, body)))

    def get(self, run_id: str) -> Handle:
        """A handle on a run.

        Raises:
            ApiError: there is no such run.
        """
        return Handle(self, self._call(requests.get_run(run_id)))

    def runs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Runs, newest first; pages are fetched as they are needed.

        Args:
            filters: ``definition=``, ``state=``, ``label="name=value"``, …; the last two also as lists.
        """
        cursor: str | None = filters.pop("cursor", None)
        while True:
            page = self._call(requests.list_runs({**filters, "cursor": cursor}))
            yield from page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def create_schedule(self, name: str, when: str, definition: str, input: Any = None, **options: Any) -> dict[str, Any]:
        """Writes a schedule: creates it, or replaces the one of this name; what it has settled stays settled.

        Args:
            name: what to call it.
            when: a cron line of five fields, or six with the seconds first; ``@daily`` and the like; ``@every 90s``; or one date.
            definition: what each firing starts.
            input: its input.
            options: ``zone`` (IANA), ``overlap`` (``skip``, ``queue``, ``cancel_other``, ``allow``), ``missed`` (``skip``,
                ``one``, ``all``), ``missed_max``, ``missed_after``, ``jitter``, ``from_``, ``until``, ``planned_as``,
                ``description``, ``paused``, and those of :meth:`start` that say how the run is to be run: ``labels``,
                ``timeout``, ``queue``, ``retries``, ….

        Returns:
            The schedule, with its next times in ``next``.

        Raises:
            ApiError: ``invalid_schedule`` says what is wrong with ``when`` and where; ``unknown_definition``; ….
        """
        return dict(self._call(schedules.put(name, when, definition, input, options)))

    def schedule(self, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """A schedule: its next times, its last runs, what was skipped and missed.

        Raises:
            ApiError: there is no such schedule.
        """
        return dict(self._call(schedules.show(name, namespace)))

    def schedules(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Schedules, in the order of their names; pages are fetched as they are needed.

        Args:
            filters: ``prefix=``, ``namespace=``.
        """
        cursor: str | None = filters.pop("cursor", None)
        while True:
            page = self._call(schedules.listing({**filters, "cursor": cursor}))
            yield from page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def pause_schedule(self, name: str, reason: str | None = None, *, namespace: str | None = None) -> dict[str, Any]:
        """Lets nothing of a schedule fire."""
        return dict(self._call(schedules.steer("pause", name, namespace, {"reason": reason})))

    def resume_schedule(self, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """Lets a schedule fire again; what was planned meanwhile is left out."""
        return dict(self._call(schedules.steer("resume", name, namespace)))

    def trigger_schedule(self, name: str, *, namespace: str | None = None) -> Handle:
        """Starts a run of a schedule now, whatever else runs, and returns a handle on it."""
        return Handle(self, self._call(schedules.trigger(name, namespace)))

    def backfill_schedule(
        self, name: str, from_: str, to: str | None = None, *, dry_run: bool = False, namespace: str | None = None
    ) -> list[dict[str, Any]]:
        """Starts a run for each planned time of a while that has none: again changes nothing.

        Args:
            name: the schedule.
            from_: the first moment whose planned time is wanted (RFC 3339).
            to: the last one; now unless given.
            dry_run: start nothing, and say what would be started.
            namespace: the schedule's.

        Returns:
            The planned times, oldest first: ``planned_at``, ``run_id``, and ``created``.

        Raises:
            ApiError: there is no such schedule, or there are more than 1,000 planned times in the while.
        """
        return list(self._call(schedules.backfill(name, namespace, from_, to, dry_run))["items"])

    def delete_schedule(self, name: str, *, namespace: str | None = None) -> None:
        """Forgets a schedule. Its runs go on."""
        self._call(schedules.delete(name, namespace))

    def close(self) -> None:
        """Closes idle connections. The client can be used again."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, request: Request) -> Any:
        retry = Retry(self._retry_for)
        while True:
            sent = False
            connection, used = self._connection(request)
            try:
                if not used:
                    connection.connect()
                sent = True
                answer = self._exchange(connection, request)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if used and request.repeatable and not isinstance(error, TimeoutError):
                    # The server closed an idle connection: that says nothing about the request.
                    continue
                time.sleep(retry.after_error(request, self._address, error, sent))
                continue
            delay = retry.after_answer(request, answer)
            if delay is None:
                return answer.value()
            time.sleep(delay)

    def _exchange(self, connection: http.client.HTTPConnection, request: Request) -> Answer:
        path = self._address.prefix + request.path
        connection.request(request.method, path, request.body, request.headers(self._address))
        response = connection.getresponse()
        answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        if response.will_close:
            connection.close()
        else:
            try:
                self._idle.put_nowait(connection)
            except queue.Full:
                connection.close()
        return answer

    def _connection(self, request: Request) -> tuple[http.client.HTTPConnection, bool]:
        # What must not be repeated does not go over a connection that may have been closed meanwhile.
        if request.repeatable:
            try:
                connection = self._idle.get_nowait()
                if connection.sock is not None:
                    connection.sock.settimeout(request.patience)
                    return connection, True
            except queue.Empty:
                pass
        address = self._address
        if address.tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(address.host, address.port, timeout=request.patience, context=context), False
        return http.client.HTTPConnection(address.host, address.port, timeout=request.patience), False


_BATCH = 1_000


def _repeatable(start: dict[str, Any]) -> dict[str, Any]:
    if any(start.get(key) for key in ("run_id", "continue_id", "unique", "unique_key")):
        return start
    return {**start, "run_id": requests.new_run_id()}


class Handle(SeenRun):
    """A run that was started: ask how it is, wait for its end, stop it."""

    def __init__(self, client: Client, run: dict[str, Any]) -> None:
        self._client = client
        self._run = run

    def result(self, timeout: float | None = None) -> Any:
        """Waits for the end and returns the output.

        Args:
            timeout: how long to wait, in seconds. None waits for ever.

        Raises:
            RunError: the run failed, timed out, was cancelled or expired.
            ResultTimeout: it had not ended in time; it goes on.
        """
        return self._result(None if timeout is None else time.monotonic() + timeout, timeout)

    def _result(self, end: float | None, timeout: float | None) -> Any:
        while self._run["state"] not in requests.CLOSED:
            wait = requests.next_wait(end)
            self._refresh(wait)
            if wait == 0.0 and self._run["state"] not in requests.CLOSED:
                raise requests.not_ended(self._run, timeout)
        return requests.result_of(self._run)

    def status(self) -> str:
        """Its state now: ``queued``, ``running``, ``suspended``, ``succeeded``, …; :attr:`info` has the rest."""
        self._refresh()
        return str(self._run["state"])

    def cancel(self, reason: str | None = None) -> None:
        """Asks it to stop. Functions that are executing may clean up first."""
        self._client._call(requests.act_on_run(self.id, "cancel", {"reason": reason} if reason else None))

    def pause(self) -> None:
        """Lets it begin nothing new."""
        self._client._call(requests.act_on_run(self.id, "pause"))

    def resume(self) -> None:
        """Lets it go on; reopens one that failed or timed out, finished steps kept."""
        self._client._call(requests.act_on_run(self.id, "resume"))
        self._refresh()

    def signal(self, name: str, payload: Any = None) -> None:
        """Sends it a message. Sent again after a lost answer, it takes effect once."""
        body = {"name": name, "payload": payload, "id": requests.new_run_id()}
        self._client._call(requests.act_on_run(self.id, "signal", body))

    def delete(self) -> None:
        """Removes it, once it has ended."""
        self._client._call(Request("DELETE", requests.get_run(self.id).path))

    def journal(self) -> Iterator[dict[str, Any]]:
        """What has happened to it, oldest first."""
        after = 0
        while True:
            page = self._client._call(requests.read_journal(self.id, after))
            yield from page["items"]
            if not page["items"]:
                return
            after = page["next_after"]

    def __await__(self) -> Generator[Any, None, Any]:
        """``await handle`` is :meth:`result`, on a thread of its own."""
        import asyncio

        return asyncio.to_thread(self.result).__await__()

    def __repr__(self) -> str:
        return f"<riverrun.Handle {self.id} {self._run.get('state')}>"

    def _refresh(self, wait: float = 0.0) -> None:
        self._run = {**self._run, **self._client._call(requests.get_run(self.id, wait))}


_default: Client | None = None
_default_lock = threading.Lock()


def connect(server: str | None = None, token: str | None = None, *, retry_for: float = 30.0) -> Client:
    """Makes the client that :func:`start`, :func:`run`, :func:`get` and :meth:`Task.submit` use from now on, and returns it."""
    global _default
    client = Client(server, token, retry_for=retry_for)
    with _default_lock:
        _default = client
    return client


def default_client() -> Client:
    """The client of :func:`connect`; without that one, the server that the environment names."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Client()
        return _default


def start(name: str, input: Any = None, **options: Any) -> Handle:
    """:meth:`Client.start` on the connected server."""
    return default_client().start(name, input, **options)


def run(name: str, input: Any = None, *, timeout: float | None = None, **options: Any) -> Any:
    """:meth:`Client.run` on the connected server."""
    return default_client().run(name, input, timeout=timeout, **options)


def get(run_id: str) -> Handle:
    """:meth:`Client.get` on the connected server."""
    return default_client().get(run_id)
