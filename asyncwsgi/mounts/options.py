"""The options of a mount: those of `Config` that are not the host's affair."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from asyncwsgi.config import Config
from asyncwsgi.errors import ConfigError

NAMES = (
    "threads", "queue_size", "thread_idle_timeout", "executor", "cancel_on_disconnect",
    "async_views_on_loop", "graceful_timeout", "max_body_size", "body_buffer_size",
    "max_spool_size", "stream_chunked_bodies", "response_buffer_size", "access_log",
    "access_log_format", "park_async_views", "max_parked",
)  # fmt: skip
_OFF = {"access_log": False}
"""The host has an access log of its own."""


def mount_config(options: Mapping[str, Any], *, more: tuple[str, ...] = ()) -> Config:
    """The options of one mount.

    Args:
        more: names that this kind of mount has besides.

    Raises:
        ConfigError: a name or a value that cannot be served.
    """
    known = {field.name for field in dataclasses.fields(Config)}
    for name in options:
        if name in known and name not in NAMES + more:
            raise ConfigError(
                f"{name!r} is no option of a mount: listening, TLS, timeouts of clients and logs "
                f"are the host server's, so tell it there; a mount has {', '.join(NAMES + more)}"
            )
    return Config.from_options({**_OFF, **options})
