"""Groups and chains: tasks that run side by side or one after another, as one run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import _requests as requests

if TYPE_CHECKING:
    from ._client import Client, Handle
    from ._task import Task

__all__ = ["Chain", "Group", "Signature", "chain", "group"]


class Signature:
    """A call that is not made yet: a task and its arguments. :meth:`Task.s` makes one."""

    def __init__(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = dict(kwargs)
        # What cannot fit is said here and not by the server.
        task.signature.bind_partial(*args, **kwargs)

    def to_spec(self, *, following: bool = False) -> dict[str, Any]:
        """The call as the server reads it.

        Args:
            following: it comes after another call, whose result goes to the parameter that was left out.

        Raises:
            TypeError: the arguments do not fit the function.
        """
        into = self._open_parameter() if following else None
        if into is None:
            value = self.task.input_for(*self.args, **self.kwargs)
        else:
            value = self.task.input_for(*self.args, **{**self.kwargs, into: None})
            del value[into]
        spec = requests.spec_of(self.task.name, value, "task", self.task.options)
        if into is not None:
            spec["into"] = into
        return spec

    def _open_parameter(self) -> str | None:
        """The first parameter that has neither an argument nor a default."""
        bound = self.task.signature.bind_partial(*self.args, **self.kwargs).arguments
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in self.task.signature.parameters.items():
            if name not in bound and parameter.kind in named and parameter.default is parameter.empty:
                return name
        return None

    def __repr__(self) -> str:
        return f"<riverrun.Signature {self.task.name}>"


class Group:
    """Calls that run side by side. Its result is the list of theirs, in order."""

    def __init__(self, calls: Iterable[Signature], then: Signature | None, allow_failures: bool) -> None:
        self.calls = list(calls)
        self.then = then
        self.allow_failures = allow_failures

    def submit(self, **options: Any) -> Handle:
        """Starts it on the connected server.

        Args:
            options: ``labels``, ``namespace``.
        """
        from ._client import default_client

        return self.submit_to(default_client(), **options)

    def submit_to(self, client: Client, **options: Any) -> Handle:
        """The same on a client of one's own."""
        body: dict[str, Any] = {"runs": [call.to_spec() for call in self.calls], **options}
        if self.then is not None:
            body["then"] = self.then.to_spec(following=True)
        if self.allow_failures:
            body["allow_failures"] = True
        return client.compose("groups", body)


class Chain:
    """Calls that run one after another, each with the result of the one before. Its result is that of the last."""

    def __init__(self, calls: Iterable[Signature]) -> None:
        self.calls = list(calls)

    def submit(self, **options: Any) -> Handle:
        """Starts it on the connected server.

        Args:
            options: ``labels``, ``namespace``.
        """
        from ._client import default_client

        return self.submit_to(default_client(), **options)

    def submit_to(self, client: Client, **options: Any) -> Handle:
        """The same on a client of one's own."""
        runs = [call.to_spec(following=at > 0) for at, call in enumerate(self.calls)]
        return client.compose("chains", {"runs": runs, **options})


def group(calls: Iterable[Signature], *, then: Signature | None = None, allow_failures: bool = False) -> Group:
    """Calls that run side by side: ``riverrun.group(resize.s(url) for url in urls).submit()``.

    The group is a run of its own, which waits in the store and not in a process. It fails when one of its calls has failed
    for good, once all have ended.

    Args:
        calls: what runs.
        then: what runs when all have succeeded, with the list of results in the parameter that was left out.
        allow_failures: the group succeeds all the same, and each result is ``{"output": …}`` or ``{"error": …}``.
    """
    return Group(calls, then, allow_failures)


def chain(*calls: Signature) -> Chain:
    """Calls that run one after another: ``riverrun.chain(fetch.s(url), parse.s(), store.s(table="pages")).submit()``.

    Each gets the result of the one before in the parameter that was left out. The chain fails with the first that fails for good.
    """
    return Chain(calls)
