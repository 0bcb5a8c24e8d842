"""The polling example's StartJob, which also notes each call, so that the demo can count them."""

import os
import runpy
from pathlib import Path

_polling = Path(__file__).parents[3] / "polling/functions/fnf-demo"
_start_job = runpy.run_path(str(_polling / "StartJob.py"))["handler"]


def handler(event, context):
    with Path(os.environ["DEMO_CALLS"]).open("a") as calls:
        calls.write("StartJob began\n")
    answer = _start_job(event, context)
    with Path(os.environ["DEMO_CALLS"]).open("a") as calls:
        calls.write("StartJob ended\n")
    return answer
