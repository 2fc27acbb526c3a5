"""Classes of a server, extended: what a server is made of is subclassed, and not the server."""

from __future__ import annotations

from typing import Any

from asyncwsgi.errors import ConfigError


def extend(base: object, extension: type, **attributes: object) -> Any:
    """A subclass of `base` with what `extension` has, and `attributes` of its own.

    Raises:
        ConfigError: `base` is no class.
    """
    if not isinstance(base, type):
        raise ConfigError(
            f"the classes that a server names are extended to record it, and {base!r} is none; "
            "name a class instead of a function or a partial"
        )
    return type(base.__name__, (extension, base), attributes)
