"""Tells the customer that nothing was paid."""

import json


def handler(event, context):
    order = json.loads(event)
    return {"letter": f"Order {order['order']} was not paid.", "shipped": False}
