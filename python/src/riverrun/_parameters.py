"""What a function takes, as the JSON Schema that its worker announces: so that a server refuses a wrong parameter at once.

Only a small part of JSON Schema is ever made: ``type``, ``properties``, ``required``, ``additionalProperties``, ``items``,
``enum``, ``anyOf`` and ``default``. A type hint that says nothing about JSON leaves its parameter unchecked.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

__all__ = ["schema_of"]

_PLAIN: dict[Any, str] = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    None: "null",
    type(None): "null",
}
_DEEPEST = 20
"""Hints nested deeper than this are left unchecked: some contain themselves."""


def schema_of(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """The schema of the object that calls a function: a property per parameter.

    Args:
        function: whose hints to read; hints that cannot be read leave their parameters unchecked.
        signature: the parameters.
    """
    hints = _hints(function)
    properties: dict[str, Any] = {}
    required = []
    rest: Any = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            rest = _schema(hints.get(name, Any), 0) or True
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            continue
        properties[name] = _schema(hints.get(name, Any), 0)
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        else:
            properties[name] = _with_default(properties[name], parameter.default)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = rest
    return schema


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    function = inspect.unwrap(function)
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:
        # A name that exists only for type checkers; hints that are no text are still of use.
        found = getattr(function, "__annotations__", {})
        return {name: hint for name, hint in found.items() if not isinstance(hint, str)}


def _with_default(schema: dict[str, Any], default: Any) -> dict[str, Any]:
    """The schema with its default; a default is always allowed, also where the hint does not say so (``x: int = None``)."""
    try:
        text = json.dumps(default, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return schema
    if default is None and schema and not _takes_null(schema):
        schema = {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "default": json.loads(text)} if len(text) <= 1_000 else schema


def _takes_null(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "null" or None in schema.get("enum", []) or any(map(_takes_null, schema.get("anyOf", [])))


def _schema(hint: Any, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        return {}
    if isinstance(hint, NewType):
        return _schema(hint.__supertype__, depth + 1)
    try:
        if hint in _PLAIN:
            return {"type": _PLAIN[hint]}
    except TypeError:
        # Not hashable, and so none of these.
        return {}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Annotated, typing.Required, typing.NotRequired):
        return _schema(arguments[0], depth + 1)
    if origin is Literal:
        return {"enum": list(arguments)} if all(isinstance(value, (str, int, type(None))) for value in arguments) else {}
    if origin in (Union, types.UnionType):
        return _any_of([_schema(argument, depth + 1) for argument in arguments])
    return _container(hint, origin or hint, arguments, depth)


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    # One of them may be anything, and then all of them together are.
    return {"anyOf": schemas} if all(schemas) else {}


def _container(hint: Any, origin: Any, arguments: tuple[Any, ...], depth: int) -> dict[str, Any]:
    if typing.is_typeddict(hint):
        return _typed_dict(hint, depth)
    if not isinstance(origin, type):
        return {}
    if issubclass(origin, Mapping):
        values = _schema(arguments[1], depth + 1) if len(arguments) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    if origin is tuple:
        # Its places may differ in type; that it is an array is enough to know here.
        items = _schema(arguments[0], depth + 1) if len(arguments) == 2 and arguments[1] is ... else {}
    elif issubclass(origin, (list, set, frozenset)) or (issubclass(origin, Iterable) and origin.__module__ == "collections.abc"):
        items = _schema(arguments[0], depth + 1) if len(arguments) == 1 else {}
    else:
        return {}
    return {"type": "array", "items": items} if items else {"type": "array"}


def _typed_dict(hint: Any, depth: int) -> dict[str, Any]:
    try:
        fields = get_type_hints(hint, include_extras=True)
    except Exception:
        return {"type": "object"}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _schema(field, depth + 1) for name, field in fields.items()},
    }
    required = [name for name, field in fields.items() if _is_required(hint, name, field)]
    if required:
        schema["required"] = required
    return schema


def _is_required(hint: Any, name: str, field: Any) -> bool:
    # Where annotations are texts, the class itself has not seen what they say.
    marks = {typing.Required: True, typing.NotRequired: False}
    return marks.get(get_origin(field), name in hint.__required_keys__)
