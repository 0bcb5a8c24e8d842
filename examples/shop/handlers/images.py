"""Pictures of a web shop. In a folder called `handlers`, `thumbnail` of `images.py` is the task `/images/thumbnail`."""

import os
import signal
import time

from shop_log import note


def thumbnail(picture: int, width: int = 200) -> dict[str, int]:
    note(f"thumbnail {picture}")
    time.sleep(0.03)  # the work
    note(f"thumbnail {picture} done")
    return {"picture": picture, "width": width}


def broken_picture(picture: int) -> None:
    """A picture that brings down the process that opens it, whenever it is tried."""
    note(f"broken {picture}")
    os.kill(os.getpid(), signal.SIGKILL)
