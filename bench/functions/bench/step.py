"""A step that does nothing."""


def handler(event, context):
    return {"i": 1}
