"""Tasks for the queue."""

import riverrun


@riverrun.task
def noop(i: int = 0) -> dict[str, int]:
    return {"i": i}
