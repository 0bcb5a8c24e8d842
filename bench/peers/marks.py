"""How late a task is, noted in a file by the task itself."""

import os
import time


def note(path: str, due: float) -> None:
    """Appends by how many milliseconds the present moment is after `due`, in seconds since 1970."""
    line = f"{(time.time() - due) * 1e3:.3f}\n"
    file = os.open(path, os.O_APPEND | os.O_WRONLY | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
