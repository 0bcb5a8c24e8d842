"""How a call ended, in the form that is recorded: a JSON text, or a failure."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

__all__ = ["Failure", "encode_result", "failure_of"]

_MAX_MESSAGE = 16_384
_MAX_TRACEBACK = 65_536
_MAX_RETRY_AFTER = 366 * 24 * 3600


class Failure(Exception):
    """A failure of an attempt as it is recorded."""

    def __init__(
        self,
        error: str,
        message: str,
        traceback_text: str | None = None,
        retryable: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(error, message)
        self.error = error
        self.message = message
        self.traceback_text = traceback_text
        self.retryable = retryable
        self.retry_after = retry_after

    def to_wire(self) -> dict[str, Any]:
        """The failure as the protocol has it."""
        wire: dict[str, Any] = {"error": _clean(self.error), "message": _cut(_clean(self.message), _MAX_MESSAGE)}
        if self.traceback_text is not None:
            wire["details"] = {"traceback": _cut_middle(_clean(self.traceback_text), _MAX_TRACEBACK)}
        if not self.retryable:
            wire["retryable"] = False
        if self.retry_after is not None:
            wire["retry_after_ms"] = round(self.retry_after * 1000)
        return wire


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception stands for: its class name, its message, its traceback."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, SystemExit):
        message = f"the function called sys.exit({_text(error.code, repr)})"
    else:
        message = _text(error, str)
    return Failure(
        type(error).__name__,
        message,
        _traceback(error),
        retryable=getattr(error, "retryable", True) is not False,
        retry_after=_retry_after(error),
    )


def _retry_after(error: BaseException) -> float | None:
    """The seconds that an exception says a retry should wait; None for anything that is no such number."""
    after = getattr(error, "retry_after", None)
    if isinstance(after, timedelta):
        after = after.total_seconds()
    if isinstance(after, bool) or not isinstance(after, (int, float)) or not 0 <= after <= _MAX_RETRY_AFTER:
        return None
    return float(after)


def encode_result(value: Any, parses_text: bool, max_bytes: int) -> str:
    """The JSON text of what a function returned.

    Raises:
        Failure: it is not JSON, with its type and its place in the value; or too large.
    """
    if parses_text and isinstance(value, (bytes, bytearray, str)):
        value = _parse_text(value)
    try:
        with _long_integers():
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise Failure("InvalidOutput", _why_not_json(value, error), retryable=False) from None
    if size > max_bytes:
        raise Failure(
            "ResultTooLarge",
            f"the function returned {size} bytes of JSON, over the limit max_result_bytes of {max_bytes}: "
            "return a reference to the data instead, or raise the limit",
            retryable=False,
        )
    return text


def _parse_text(value: bytes | bytearray | str) -> Any:
    if not isinstance(value, str):
        try:
            value = bytes(value).decode()
        except UnicodeDecodeError as error:
            raise Failure("InvalidOutput", f"the function returned bytes that are not UTF-8: {error}", retryable=False) from None
    try:
        with _long_integers():
            return json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # Text that is not JSON is a result all the same: a string.
        return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _why_not_json(value: Any, error: BaseException) -> str:
    try:
        found = next(_offences(value, "the result", 0), None)
    except RecursionError:
        found = None
    return found or f"the function returned a value that is not JSON: {_text(error, str)}"


def _offences(value: Any, place: str, depth: int) -> Iterator[str]:
    if depth > 200:
        yield f"{place} is nested more than 200 levels deep, or contains itself"
    elif isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            yield f"{place} is a string with a lone surrogate, which has no UTF-8 form"
    elif value is None or isinstance(value, (bool, int)):
        return
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            yield f"{place} is {value!r}, which JSON cannot express"
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                yield f"{place} has a key of type {_type_name(key)}: JSON keys are strings"
            yield from _offences(key, f"a key of {place}", depth + 1)
            yield from _offences(item, f"{place}[{_text(key, repr)[:80]}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _offences(item, f"{place}[{index}]", depth + 1)
    else:
        yield f"{place} is of type {_type_name(value)}, which is not JSON: return dicts, lists, strings, numbers"


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(value: Any, how: Any) -> str:
    try:
        return str(how(value))
    except BaseException as error:
        return f"<unprintable {type(value).__name__}: {how.__name__}() raised {type(error).__name__}>"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, _user_part(error)))
    except BaseException:
        return ""


def _user_part(error: BaseException) -> Any:
    """The traceback without the frames of this package above the user's code."""
    frame = error.__traceback__
    here = __name__.rpartition(".")[0]
    first = frame
    while first is not None and first.tb_frame.f_globals.get("__name__", "").startswith(here + "._"):
        first = first.tb_next
    return first if first is not None else frame


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit} more characters cut]"


def _cut_middle(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… [{len(text) - limit} characters cut] …\n{text[-half:]}"


@contextmanager
def _long_integers() -> Iterator[None]:
    """JSON integers have no limit; the interpreter's guard for text from strangers is for another place."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)
