"""Adds up what `collect` found."""

import json


def handler(event, context):
    collected = json.loads(event)
    orders = collected["orders"]
    return {"day": collected["day"], "orders": len(orders), "cents": sum(order["cents"] for order in orders)}
