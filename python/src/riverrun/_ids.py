"""Run ids, made by the client so that a start can be repeated safely."""

from __future__ import annotations

import secrets
import time

__all__ = ["new_run_id"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_run_id(wall_ms: int | None = None, slot: int | None = None, entropy: int | None = None) -> str:
    """A new run id: ``run_`` and 26 characters of Crockford's base 32, which sort by the time of creation.

    Args:
        wall_ms: milliseconds since 1970 UTC, 48 bits; now unless given.
        slot: the share of the id space, 16 bits; by chance unless given.
        entropy: 64 bits; by chance unless given.
    """
    wall_ms = time.time_ns() // 1_000_000 if wall_ms is None else wall_ms
    slot = secrets.randbits(16) if slot is None else slot
    entropy = secrets.randbits(64) if entropy is None else entropy
    value = (wall_ms & (1 << 48) - 1) << 80 | slot << 64 | entropy
    return "run_" + "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
