"""Logging as a file says: ``--log-config``, in the words of `logging.config`."""

from __future__ import annotations

import configparser
import contextlib
import json
import logging.config
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asyncwsgi.errors import ConfigError

_INI_SUFFIXES = (".ini", ".cfg", ".conf")


def apply_log_config(path: str) -> None:
    """Configure logging as the file at `path` says: TOML, JSON or INI, by its suffix.

    Loggers that exist stay as they are unless the file says otherwise: `logging.config` would
    switch off those that it does not name.

    Raises:
        ConfigError: names the file, and the place in it if that is known.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in (".toml", ".json", *_INI_SUFFIXES):
        raise ConfigError(
            f"log_config {path}: expected a file that ends in .toml, .json or .ini, in the form of "
            "logging.config"
        )
    try:
        with _imports_from_here():
            if suffix in _INI_SUFFIXES:
                _apply_ini(file)
            else:
                logging.config.dictConfig(_read(file, suffix))
    except ConfigError as error:
        raise ConfigError(f"log_config {path}: {error}") from error
    except Exception as error:  # whatever the handlers that it names raise
        raise ConfigError(f"log_config {path}: {_reason(error)}") from error


@contextlib.contextmanager
def _imports_from_here() -> Iterator[None]:
    """Look for modules in the working directory, where the application is mostly."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _read(file: Path, suffix: str) -> dict[str, Any]:
    text = _text_of(file)
    try:
        settings = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(error)) from None  # which ends with its place
    if not isinstance(settings, dict):
        raise ConfigError(f"expected an object, got {type(settings).__name__}")
    return {"version": 1, "disable_existing_loggers": False, **settings}


def _apply_ini(file: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text_of(file), str(file))
    except configparser.Error as error:
        raise ConfigError(" ".join(error.message.split())) from None  # which has the line
    for section in ("loggers", "handlers", "formatters"):
        if not parser.has_option(section, "keys"):
            raise ConfigError(f"expected a section [{section}] with the names of its keys")
    logging.config.fileConfig(parser, disable_existing_loggers=False)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"it is no UTF-8: {error}") from None


def _reason(error: BaseException) -> str:
    """What went wrong: `logging.config` says where, and what it was caused by says what."""
    reasons = []
    each: BaseException | None = error
    while each is not None:
        name = type(each).__name__
        text = f"no {each}" if isinstance(each, KeyError) else str(each)
        reasons.append(text or name)
        each = each.__cause__
    return ": ".join(reasons)
