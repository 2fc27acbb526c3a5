"""``manage.py runserver`` on this server: Django's command with another server class below it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.apps import apps  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.core.management.base import CommandError  # type: ignore[import-untyped]

from asyncwsgi.django.server import server_class
from asyncwsgi.errors import ConfigError
from asyncwsgi.version import __version__

if apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import (  # type: ignore[import-untyped]
        Command as DjangosCommand,
    )
else:
    from django.core.management.commands.runserver import (  # type: ignore[import-untyped]
        Command as DjangosCommand,
    )


class Command(DjangosCommand):  # type: ignore[misc]
    """See `asyncwsgi.django.server` for what Django's command leaves to its server."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--certfile", metavar="FILE", help="TLS certificate chain (PEM); serves https."
        )
        parser.add_argument(
            "--keyfile",
            metavar="FILE",
            help="TLS private key (PEM), if not in the certificate's file.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        certfile, keyfile = options["certfile"], options["keyfile"]
        try:
            self.server_cls = server_class(
                getattr(settings, "ASYNCWSGI", {}),
                certfile=certfile,
                keyfile=keyfile,
                is_threaded=options["use_threading"],
            )
        except ConfigError as error:
            raise CommandError(f"asyncwsgi: {error}") from error
        if self.server_cls.config.ssl_context is not None:
            self.protocol = "https"
        super().handle(*args, **options)

    def on_bind(self, server_port: int) -> None:
        super().on_bind(server_port)
        self.stdout.write(f"Served by asyncwsgi {__version__}.\n")
