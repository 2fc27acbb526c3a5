"""``use = egg:asyncwsgi#main``: a server of PasteDeploy, for Pyramid's ``pserve`` and the like.

Found by its entry point, ``paste.server_runner``. What an ini file says is text, and is read as the
command line reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asyncwsgi.app_loading import NamedLifespan
from asyncwsgi.config import Config, Option, option_fields
from asyncwsgi.errors import ConfigError
from asyncwsgi.running import run

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_OF_OTHERS = {"listen": "bind", "url_prefix": "root_path", "connection_limit": "max_connections"}
"""What waitress, which most ini files name, calls some options."""


def serve(application: WSGIApplication, global_conf: object, **settings: str) -> None:
    """Serve until SIGINT or SIGTERM, as `asyncwsgi.run` does.

    Args:
        application: the WSGI application.
        global_conf: the section ``DEFAULT``, of which nothing is used.
        settings: the section of the server: options by the names of `Config`; several listeners
            are separated by spaces.

    Raises:
        BindError: an address cannot be had.
        ConfigError: a setting that is no option, or a value that cannot be served.
        SystemExit: a second signal has cut what was in flight.
    """
    if code := run(application, config_of(settings)):
        raise SystemExit(code)


def config_of(settings: Mapping[str, str]) -> Config:
    """The options that the section of a server says.

    Raises:
        ConfigError: a setting that is no option, or a value that cannot be served.
    """
    for name in settings.keys() & _OF_OTHERS.keys():
        raise ConfigError(f"there is no option {name!r}; here it is {_OF_OTHERS[name]!r}")
    known = {field.name: (field, option) for field, option in option_fields()}
    return Config.from_options(
        {
            # A name that is none is refused there, with the nearest one.
            name: _value(*known[name], text.strip()) if name in known else text
            for name, text in settings.items()
        }
    )


def _value(field: dataclasses.Field[Any], option: Option, text: str) -> Any:
    if not option.on_command_line:
        raise ConfigError(f"{field.name} is for programs; text cannot say it")
    if field.name == "lifespan":
        return NamedLifespan(text)
    if isinstance(field.default, tuple):
        return tuple(text.split())
    if isinstance(field.default, bool):
        if text.lower() not in _BOOLEANS:
            raise ConfigError(f"{field.name} must be true or false, got {text!r}")
        return _BOOLEANS[text.lower()]
    if isinstance(field.default, int | float):
        kind = type(field.default)
        try:
            return kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{field.name} must be {wanted}, got {text!r}") from None
    return text
