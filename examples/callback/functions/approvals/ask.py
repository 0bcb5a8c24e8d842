"""Writes the question and the token that answers it to an outbox, a file. A real one would send a mail."""

import json
from pathlib import Path


def handler(event, context):
    question = json.loads(event)
    outbox = Path(question["outbox"] or "outbox.json")
    outbox.write_text(json.dumps({"what": question["what"], "token": question["token"]}))
    return {}
