"""The system check: whether ``runserver`` is the one of this package."""

from __future__ import annotations

from typing import Any

from django.core.checks import Warning as CheckWarning  # type: ignore[import-untyped]
from django.core.management import get_commands, load_command_class  # type: ignore[import-untyped]

ID = "asyncwsgi.W001"


def check_order(**_: Any) -> list[CheckWarning]:
    """Warn if an application that stands before this one has taken ``runserver``."""
    from asyncwsgi.django.management.commands.runserver import Command

    owner = get_commands().get("runserver")
    # One that is made out of ours, or hands on to it, is as good.
    if not isinstance(owner, str) or isinstance(load_command_class(owner, "runserver"), Command):
        return []
    return [
        CheckWarning(
            f"`runserver` is that of {owner!r} and does not run on asyncwsgi, since "
            "'asyncwsgi.django' stands behind it in INSTALLED_APPS.",
            hint=f"Move 'asyncwsgi.django' before {owner!r}. If `runserver` is to stay as it is, "
            f"and only `runasyncwsgi` to be used, add {ID!r} to SILENCED_SYSTEM_CHECKS.",
            id=ID,
        )
    ]
