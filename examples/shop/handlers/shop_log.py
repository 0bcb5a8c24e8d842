"""Where the shop's tasks note what they do, for whoever counts. It serves nothing itself: `__all__` names no function."""

import os

__all__: list[str] = []


def note(line: str) -> None:
    path = os.environ.get("DEMO_CALLS")
    if path:
        # One write of a short line is not torn by another process.
        with open(path, "a") as calls:
            calls.write(line + "\n")
