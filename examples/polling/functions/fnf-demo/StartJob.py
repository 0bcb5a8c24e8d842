"""Stands in for the API that starts a long job."""

import logging
import uuid


def handler(event, context):
    # A version 1 UUID carries the time it was made: the job's own record of when it began.
    job_id = uuid.uuid1()
    logging.getLogger().info("started job %s", job_id)
    return {"job_id": str(job_id)}
