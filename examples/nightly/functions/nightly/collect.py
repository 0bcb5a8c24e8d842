"""Collects a day's orders. A real one would ask a shop's database."""

import json
import logging


def handler(event, context):
    day = json.loads(event)["day"]
    orders = [{"order": number, "cents": 1_000 + 37 * number} for number in range(1, 25)]
    logging.getLogger().info("%d orders on %s", len(orders), day)
    return {"day": day, "orders": orders}
