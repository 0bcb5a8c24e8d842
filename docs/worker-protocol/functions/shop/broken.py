def handler(event context):
    """Broken on purpose: a missing comma."""
