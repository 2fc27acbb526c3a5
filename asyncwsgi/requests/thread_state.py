"""What a request keeps in its thread, and nobody else may find there while it waits.

Django's database connections are those of a thread. Requests that take turns in one may share a
connection, as requests that follow each other do, but not a transaction.
"""

from __future__ import annotations

import contextlib
import sys


def is_in_django_transaction() -> bool:
    """Whether the current thread is inside of ``transaction.atomic()`` on any connection."""
    module = sys.modules.get("django.db")
    if module is None:
        return False
    with contextlib.suppress(Exception):  # without settings there is no connection
        return any(
            connection.in_atomic_block
            for connection in module.connections.all(initialized_only=True)
        )
    return False
