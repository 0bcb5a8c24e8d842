"""Stands in for the API that tells a job's status: `success` once `delay` seconds have passed since its start."""

import json
import logging
import time
import uuid

_UUID_EPOCH = 0x01B21DD213814000  # 1970, in the 100 ns ticks since 1582 that version 1 UUIDs count


def handler(event, context):
    args = json.loads(event)
    started = (uuid.UUID(args["job_id"]).time - _UUID_EPOCH) / 1e7
    delay = args.get("delay")
    delay = 60 if delay is None else delay
    status = "success" if time.time() - started > delay else "running"
    try_count = (args.get("try_count") or 0) + 1
    logging.getLogger().info("job %s, status %s, try_count %d", args["job_id"], status, try_count)
    return {"job_id": args["job_id"], "job_status": status, "try_count": try_count}
