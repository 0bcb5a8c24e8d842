import json


def handler(event, context):
    pieces = json.loads(event)["pieces"]
    if not pieces:
        raise ValueError("nothing to sell")
    return {"sold": pieces}
