"""The polling example's GetJobStatus, which takes its time and notes each call, so that the demo can kill and count."""

import os
import runpy
import time
from pathlib import Path

_polling = Path(__file__).parents[3] / "polling/functions/fnf-demo"
_get_job_status = runpy.run_path(str(_polling / "GetJobStatus.py"))["handler"]


def handler(event, context):
    with Path(os.environ["DEMO_CALLS"]).open("a") as calls:
        calls.write("GetJobStatus began\n")
    time.sleep(3)
    answer = _get_job_status(event, context)
    with Path(os.environ["DEMO_CALLS"]).open("a") as calls:
        calls.write("GetJobStatus ended\n")
    return answer
