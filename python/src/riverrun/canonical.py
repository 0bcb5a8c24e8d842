"""The canonical form of JSON, and the fingerprint that is made of it: what tells whether two inputs are the same.

No white space; object keys in the order of their UTF-16 code units; strings as RFC 8785 has them; integers exactly, whatever
their size; other numbers as the shortest double that reads back the same, written as ECMAScript writes it. Duplicate keys, lone
surrogates and numbers beyond a double are refused. The server computes the same: ``crates/kernel/tests/vectors`` has the cases.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from typing import Any

from ._errors import InvalidJson

__all__ = ["canonical", "canonicalize", "fingerprint"]


def canonicalize(text: str | bytes) -> str:
    """The canonical form of a JSON text.

    Raises:
        InvalidJson: it has none; ``reason`` says which rule it breaks.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise InvalidJson("syntax", f"the text is not UTF-8: {error}") from None
    try:
        value = _DECODER.decode(text)
        out: list[str] = []
        _write(value, out)
    except RecursionError:
        raise InvalidJson("syntax", "the text is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidJson("syntax", f"the text is not JSON: {error}") from None
    return "".join(out)


def canonical(value: Any) -> str:
    """The canonical form of a JSON value.

    Raises:
        InvalidJson: it is no JSON value, or has no canonical form.
    """
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return canonicalize(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidJson):
            raise
        raise InvalidJson("syntax", f"the value is not JSON: {error}") from None
    finally:
        sys.set_int_max_str_digits(digits)


def fingerprint(text: str | bytes) -> str:
    """SHA-256 of the canonical form of a JSON text, as 64 hex digits."""
    return hashlib.sha256(canonicalize(text).encode()).hexdigest()


class _Number(str):
    """A number in its canonical spelling."""

    __slots__ = ()


def _integer(text: str) -> _Number:
    return _Number("0" if text == "-0" else text)


def _double(text: str) -> _Number:
    value = float(text)
    if math.isinf(value):
        raise InvalidJson("out_of_range", f"the number {text[:40]} is beyond what a double can hold")
    if value == 0.0:
        return _Number("0")
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = int(exponent or 0) + (len(whole) if whole != "0" else len(digits) - len(fraction))
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if 0 < point <= 21:
        if len(digits) <= point:
            return _Number(sign + digits + "0" * (point - len(digits)))
        return _Number(sign + digits[:point] + "." + digits[point:])
    if -6 < point <= 0:
        return _Number(sign + "0." + "0" * -point + digits)
    power = point - 1
    tail = "." + digits[1:] if len(digits) > 1 else ""
    return _Number(f"{sign}{digits[0]}{tail}e{'+' if power > 0 else '-'}{abs(power)}")


def _constant(name: str) -> Any:
    raise InvalidJson("syntax", f"the text is not JSON: {name} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidJson("duplicate_key", f"the key {key!a} occurs twice in one object")
            seen.add(key)
    return value


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_double, parse_constant=_constant, object_pairs_hook=_object)


def _write(value: Any, out: list[str]) -> None:
    if isinstance(value, _Number):
        out.append(value)
    elif isinstance(value, str):
        out.append(_string(value))
    elif isinstance(value, dict):
        separator = "{"
        for key in sorted(value, key=_utf16):
            out += (separator, _string(key), ":")
            _write(value[key], out)
            separator = ","
        out.append("}" if value else "{}")
    elif isinstance(value, list):
        separator = "["
        for item in value:
            out.append(separator)
            _write(item, out)
            separator = ","
        out.append("]" if value else "[]")
    else:
        out.append({True: "true", False: "false", None: "null"}[value])


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")


def _string(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidJson("lone_surrogate", f"the string {ascii(text)[:60]} has a lone surrogate")
    # The standard encoder writes the short escapes and \u00xx in lower case, and everything else but DEL as RFC 8785 does.
    return json.dumps(text, ensure_ascii=False)
