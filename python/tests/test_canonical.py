"""Canonical JSON: the same vectors as the server's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from riverrun import InvalidJson
from riverrun.canonical import canonical, canonicalize, fingerprint

VECTORS = Path(__file__).parents[2] / "crates/kernel/tests/vectors/canonical.json"
CASES = json.loads(VECTORS.read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_vector(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(InvalidJson) as caught:
            canonicalize(case["input"])
        assert caught.value.reason == case["error"]
    else:
        assert canonicalize(case["input"]) == case["canonical"]
        assert fingerprint(case["input"]) == case["sha256"]
        assert canonicalize(case["canonical"]) == case["canonical"]


def test_values_have_the_form_of_their_text() -> None:
    assert canonical({"b": [1.0, None], "a": 10**5000}) == '{"a":1' + "0" * 5000 + ',"b":[1,null]}'
    for bad in (float("nan"), object(), {"x": {1, 2}}, "\ud800"):
        with pytest.raises(InvalidJson):
            canonical(bad)


def test_bytes_are_utf_8() -> None:
    assert canonicalize('"流程"'.encode()) == '"流程"'
    with pytest.raises(InvalidJson, match="not UTF-8"):
        canonicalize('"流程"'.encode("gbk"))


def test_what_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InvalidJson, match="nested too deeply"):
        canonicalize("[" * 100_000 + "]" * 100_000)
