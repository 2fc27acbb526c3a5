"""``manage.py runasyncwsgi``: as ``runserver`` of this package, where that is another one's."""

from __future__ import annotations

from asyncwsgi.django.management.commands.runserver import Command as RunserverCommand


class Command(RunserverCommand):
    """For projects whose ``runserver`` stays as it is."""

    help = "Starts asyncwsgi for development, as runserver does with Django's own server."
