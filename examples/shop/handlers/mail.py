"""Mails of a web shop."""

import time

from shop_log import note


def confirm(order: int, to: str) -> dict[str, str]:
    note(f"mail {order}")
    time.sleep(0.02)  # the mail server
    note(f"mail {order} done")
    return {"sent_to": to}


def newsletter(month: str) -> str:
    """Must not go out twice."""
    note(f"newsletter {month}")
    time.sleep(1.0)
    return f"sent for {month}"
