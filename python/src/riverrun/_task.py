"""Tasks: functions that can be called here, or queued to run on a worker."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

if TYPE_CHECKING:
    from ._client import Client, Handle
    from ._compose import Signature

__all__ = ["Task", "task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A function with a name and options. Called plainly it runs, here and now; :meth:`submit` queues it."""

    __name__: str

    def __init__(self, function: Callable[P, R], name: str, options: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        """The function itself."""
        self.name = name
        """What workers serve it as."""
        self.options: dict[str, Any] = dict(options)
        """Options of its runs: ``queue``, ``retries``, ``timeout`` and so on, those that were given."""
        self.signature = inspect.signature(function)
        """What parameters it takes."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return functools.partial(self.function, instance)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<riverrun.Task {self.name}>"

    def with_options(self, **options: Any) -> Task[P, R]:
        """The same task with some options changed: ``ping.with_options(queue="slow").submit()``."""
        return Task(self.function, self.name, {**self.options, **options})

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Queues a call of it on the connected server and returns a handle at once.

        The arguments are checked against the function's parameters here, and must be JSON values.

        Raises:
            TypeError: the arguments do not fit the function.
            ApiError: the server refuses.
            Unreachable: it cannot be reached.
        """
        from ._client import default_client

        return self.submit_to(default_client(), *args, **kwargs)

    def submit_to(self, client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """The same as :meth:`submit`, on a client of one's own."""
        return client.start(self.name, self.input_for(*args, **kwargs), kind="task", **self.options)

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """The call as a value, for :func:`riverrun.group`, :func:`riverrun.chain` and ``then``: it is not made yet.

        A call that comes after another may leave out one parameter without a default: it gets the other's result.
        """
        from ._compose import Signature

        return Signature(self, args, kwargs)

    def submit_many(self, calls: Iterable[Mapping[str, Any]]) -> list[str]:
        """Queues many calls in one commit for each thousand or so and returns the ids of their runs, in order.

        Args:
            calls: the arguments of each call, by name.

        Raises:
            TypeError: the arguments of one do not fit the function.
            ApiError: the server refuses one.
        """
        from ._client import default_client

        return default_client().submit_many(self, calls)

    def input_for(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """The input of a run that calls the function with these arguments: an object with a key per parameter.

        Raises:
            TypeError: the arguments do not fit the function.
        """
        bound = self.signature.bind(*args, **kwargs)
        value: dict[str, Any] = {}
        for name, argument in bound.arguments.items():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                value.update(argument)
            elif kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
                raise TypeError(f"task {self.name}: {name} cannot be passed by name, and an input has a key per parameter")
            else:
                value[name] = argument
        return value


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, name: str | None = None, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(function: Callable[P, R] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Makes a function a task, bare (``@riverrun.task``) or with options (``@riverrun.task(queue="mail")``).

    Args:
        name: what workers serve it as; the function's own name unless given.
        options: the options of :func:`riverrun.start`. ``queue``, ``priority``, ``retries``, ``timeout``, ``queue_ttl``,
            ``max_crashes``, ``at_most_once``, ``concurrency_key``, ``max_running``, ``rate``, ``result_ttl`` and
            ``failure_ttl`` hold for every run of the task, whoever starts it, unless the start says otherwise; ``delay``,
            ``unique``, ``unique_key``, ``then``, ``callback_url`` and ``labels`` for each run that :meth:`Task.submit` starts.
    """

    def decorate(wrapped: Callable[P, R]) -> Task[P, R]:
        if not callable(wrapped):
            raise TypeError("@riverrun.task goes on a function")
        return Task(wrapped, name or wrapped.__name__, options)

    return decorate if function is None else decorate(function)
