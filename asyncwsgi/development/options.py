"""What the command line offers for development, around the server that `Config` describes."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from asyncwsgi.app_loading import load_application
from asyncwsgi.config import LARGEST_PORT, declared, option_fields
from asyncwsgi.development.debugger import has_werkzeug, with_debugger
from asyncwsgi.development.editor import editor_template
from asyncwsgi.errors import ConfigError
from asyncwsgi.reloading.patterns import Patterns

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from asyncwsgi.config import Config


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _anchored(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The paths of `extra_files` as patterns, which mean a path only if they are anchored."""
    return tuple(
        path if path.startswith(("/", "./", "../")) else f"./{path}"
        for path in values.get("extra_files", ())
    )


def _paths(value: str | Iterable[str]) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    return tuple(path for each in values for path in each.split(os.pathsep) if path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """Whether to reload, what to watch besides the code, and whether to debug."""

    reload: bool = declared(
        False, "Take up changed code while the listeners stay open.", implied_by="debug"
    )
    debug: bool = declared(False, "For development: --reload and --debugger, and FLASK_DEBUG=1.")
    refresh: bool = declared(
        False,
        "Have open pages load again when code, templates or static files have changed.",
        implied_by="reload",
    )
    debugger: bool = declared(
        False, "Show Werkzeug's interactive debugger for exceptions.", implied_by="debug"
    )
    inspect: bool = declared(
        False,
        "Show each request as it comes, on a page of its own at this machine alone.",
        implied_by="debug",
    )
    inspect_port: int = declared(0, "Port of that page; 0 is a free one.", minimum=0)
    inspect_secrets: bool = declared(
        False, "Keep cookies, passwords and tokens for it as they are, instead of masking them."
    )
    editor: str = declared(
        "",
        "The editor in which error pages open files: its command, such as code, or a link with "
        "{path} and {line} in it; none for no links.  [default: as VISUAL or EDITOR says]",
    )
    reload_dir: tuple[str, ...] = declared(
        (),
        "Directory of which --reload watches the Python files, in place of those that the "
        "application is imported from. May be given several times.",
        metavar="DIR",
        holds_paths=True,
    )
    reload_include: tuple[str, ...] = declared(
        (),
        "What --reload watches besides: '*.toml', 'templates/**', './site.cfg'. May be given "
        "several times.",
        metavar="GLOB",
        holds_paths=True,
    )
    reload_exclude: tuple[str, ...] = declared(
        (),
        "What --reload does not watch: '*/migrations/*', 'build'. May be given several times.",
        metavar="GLOB",
        holds_paths=True,
    )
    extra_files: tuple[str, ...] = declared(
        (), "What reload_include is called now.", metavar="PATHS", holds_paths=True, hidden=True
    )
    exclude_patterns: tuple[str, ...] = declared(
        (), "What reload_exclude is called now.", metavar="PATTERNS", holds_paths=True, hidden=True
    )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Make one of what was given by name; ``None`` is what another option implies.

        Raises:
            ConfigError: what is wanted cannot be had here.
        """
        values = dict(options)
        for field, option in option_fields(cls):
            if option.implied_by and values.get(field.name) is None:
                values[field.name] = values.get(option.implied_by, False)
            elif field.default == () and field.name in values:
                values[field.name] = _paths(values[field.name])
        if options.get("inspect") is None and os.name != "posix":
            values["inspect"] = False  # --debug does not imply what cannot be had
        values["refresh"] = values["refresh"] and values["reload"]
        values["reload_include"] = values.get("reload_include", ()) + _anchored(values)
        values["reload_exclude"] = values.get("reload_exclude", ()) + values.get(
            "exclude_patterns", ()
        )
        development = cls(**values)
        # Once, where they are given: a child is told what held then.
        development._check()
        return development

    @property
    def editor_link(self) -> str:
        """The link by which an editor opens a line of a file (see `editor_template`)."""
        return editor_template(self.editor, os.environ)

    def _check(self) -> None:
        if not 0 <= self.inspect_port <= LARGEST_PORT:
            raise ConfigError(
                f"--inspect-port must be from 0 to {LARGEST_PORT}, got {self.inspect_port}"
            )
        editor_template(self.editor, {})
        if self.reload and os.name != "posix":
            raise ConfigError(
                "--reload hands sockets from process to process, which this platform cannot; use "
                "Werkzeug's reloader: python -m asyncwsgi.flask run --debug"
            )
        if self.inspect and os.name != "posix":
            raise ConfigError(
                "--inspect has a process beside the one that serves, which hands it sockets; this "
                "platform cannot: give --no-inspect"
            )
        if self.debugger and not has_werkzeug():
            raise ConfigError(
                "the debugger is Werkzeug's, which is not installed; install werkzeug "
                "or give --no-debugger"
            )
        for patterns in (self.reload_include, self.reload_exclude):
            Patterns(patterns, "/")  # raises for what is none

    @property
    def renamed(self) -> list[str]:
        """What was given by a name from before, and what to write instead; for the log."""
        names = {
            "extra_files": ("reload_include", _anchored({"extra_files": self.extra_files})),
            "exclude_patterns": ("reload_exclude", self.exclude_patterns),
        }
        return [
            f"{_flag(old)} will be gone in the next release; write "
            f"{' '.join(f'{_flag(new)} {shlex.quote(value)}' for value in values)}"
            for old, (new, values) in names.items()
            if values
        ]

    def load(self, name: str, config: Config, directory: str = "") -> WSGIApplication:
        """Import the application called `name`, with the debugger around it if there shall be one.

        Args are those of `load_application`.

        Raises:
            AppImportError: see `load_application`.
        """
        if self.debug:
            # Flask reads it when its application is made, and hides exceptions without it.
            os.environ.setdefault("FLASK_DEBUG", "1")
        application = load_application(name, directory)
        return with_debugger(application, config) if self.debugger else application


DEVELOPMENT_OPTIONS = tuple(field.name for field in dataclasses.fields(Development))
OPTIONS_OF_RELOAD = frozenset({
    "refresh",
    "reload_dir", "reload_include", "reload_exclude", "extra_files", "exclude_patterns",
})  # fmt: skip
"""Those that say nothing without `reload`."""
