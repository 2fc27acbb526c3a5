"""What the command line offers for development, around the server that `Config` describes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.app_loading import load_application
from asyncwsgi.errors import ConfigError
from asyncwsgi.reloading.sources import is_directory

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.config import Config

_IPV6_HOST = re.compile(r"\[([^]]*)\](?::\d*)?")
"""An IPv6 address in the header Host (RFC 3986 3.2.2)."""
_WILDCARDS = ("*", "?", "[")
DEVELOPMENT_OPTIONS = ("reload", "debug", "debugger", "extra_files", "exclude_patterns")


@dataclass(frozen=True, slots=True)
class Development:
    """Whether to reload, what to watch besides the code, and whether to debug."""

    reload: bool = False
    debug: bool = False
    debugger: bool = False
    extra_files: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Make one of what the command line was given; ``None`` is what `debug` implies.

        Raises:
            ConfigError: what is wanted cannot be had here.
        """
        debug = options["debug"]
        wants_reload, wants_debugger = options["reload"], options["debugger"]
        development = cls(
            reload=debug if wants_reload is None else wants_reload,
            debug=debug,
            debugger=debug if wants_debugger is None else wants_debugger,
            extra_files=_paths(options["extra_files"]),
            exclude_patterns=_paths(options["exclude_patterns"]),
        )
        development._check()
        development._check_paths()
        return development

    def _check(self) -> None:
        if self.reload and os.name != "posix":
            raise ConfigError(
                "--reload hands sockets from process to process, which this platform cannot; use "
                "Werkzeug's reloader: python -m asyncwsgi.flask run --debug"
            )
        if self.debugger and not _has_werkzeug():
            raise ConfigError(
                "the debugger is Werkzeug's, which is not installed; install werkzeug "
                "or give --no-debugger"
            )

    def _check_paths(self) -> None:
        for path in self.missing_files:
            if any(character in path for character in _WILDCARDS):
                raise ConfigError(
                    f"--extra-files takes paths and no patterns, got {path!r}; name the directory, "
                    "in which every file counts"
                )
            if not is_directory(Path(path).parent):
                raise ConfigError(
                    f"--extra-files: there is no {path}, nor a directory to hold it; correct the "
                    "path, or make the directory first"
                )
        for pattern in self.exclude_patterns:
            if not pattern.startswith((os.sep, *_WILDCARDS)):
                raise ConfigError(
                    f"--exclude-patterns {pattern!r} matches nothing: a pattern is compared with a "
                    f"whole path; write {f'*{os.sep}{pattern}'!r}"
                )

    @property
    def missing_files(self) -> list[str]:
        """Those of `extra_files` that are not there; they may be made later."""
        # Not Path.exists(), which raises PermissionError.
        return [path for path in self.extra_files if not os.path.exists(path)]  # noqa: PTH110

    def load(self, name: str, config: Config) -> WSGIApplication:
        """Import the application called `name`, with the debugger around it if there shall be one.

        Raises:
            AppImportError: see `load_application`.
        """
        if self.debug:
            # Flask reads it when its application is made, and hides exceptions without it.
            os.environ.setdefault("FLASK_DEBUG", "1")
        application = load_application(name)
        return _with_debugger(application, config) if self.debugger else application


def _has_werkzeug() -> bool:
    try:
        import werkzeug.debug  # noqa: F401
    except ImportError:
        return False
    return True


def _paths(value: str) -> tuple[str, ...]:
    return tuple(path for path in value.split(os.pathsep) if path)


def _with_debugger(application: WSGIApplication, config: Config) -> WSGIApplication:
    from werkzeug.debug import DebuggedApplication

    # As werkzeug.serving.run_simple does: who chose the host may debug there.
    hosts = [config.host] if not config.bind else _hosts(config.bind)
    addresses = {_ipv6_address(host) for host in ("::1", *hosts)} - {None}

    class Debugged(DebuggedApplication):
        def check_host_trust(self, environ: dict[str, Any]) -> bool:
            # Werkzeug reads a trusted host up to its first colon, where its port would be.
            literal = _IPV6_HOST.fullmatch(environ.get("HTTP_HOST", ""))
            is_ours = literal is not None and _ipv6_address(literal[1]) in addresses
            return is_ours or super().check_host_trust(environ)

    debugged = Debugged(application, evalex=True)
    debugged.trusted_hosts += hosts
    return debugged


def _ipv6_address(host: str) -> IPv6Address | None:
    try:
        return IPv6Address(host)
    except ValueError:
        return None


def _hosts(binds: tuple[str, ...]) -> list[str]:
    # Behind uwsgi:// there is a proxy; how browsers call that one, nobody has said here.
    others = ("unix:", "fd:", "uwsgi://", "uwsgi+")
    addresses = [bind for bind in binds if not bind.startswith(others)]
    return [address.rpartition(":")[0].strip("[]") for address in addresses]
