"""The access log: one record for each request, on the logger ``asyncwsgi.access``.

Emits standard logging records and configures nothing; how they look is for whoever configures
logging. Every field of the entry stands on the record as an attribute, as if given by ``extra``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

ACCESS_LOGGER = "asyncwsgi.access"
DEFAULT_FORMAT = '%(client)s "%(method)s %(target)s %(protocol)s" %(status)s %(size)s %(duration)s'

# Whatever a terminal or a log reader could take for a command or for the end of a field.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x22, 0x5C, *range(0x7F, 0xA0))}


_NAMED = re.compile(r"%\((request|response|environ):([^()]+)\)")
"""Fields that name a header of the request, one of the response, or a key of the environ."""
_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")


class NamedField(NamedTuple):
    """A field of a format that says itself what it wants, as ``request:traceparent``."""

    field: str
    is_of_response: bool
    name: str
    """A key of the environ, or a response header in lower case."""

    @classmethod
    def parse(cls, source: str, name: str) -> NamedField:
        """The field ``SOURCE:NAME``."""
        field, key = f"{source}:{name}", name
        if source == "request":
            # RFC 3875 4.1.18.
            key = name.upper().replace("-", "_")
            key = key if key in _WITHOUT_PREFIX else f"HTTP_{key}"
        return cls(field, source == "response", name.lower() if source == "response" else key)


def named_fields(line_format: str) -> tuple[NamedField, ...]:
    """The fields of `line_format` that name a header or a key of the environ."""
    return tuple(NamedField.parse(*match) for match in _NAMED.findall(line_format))


class AccessEntry(NamedTuple):
    """What is known of one request when its response has ended."""

    client: str
    """Address of the peer; ``-`` for a Unix socket."""
    method: str
    target: str
    protocol: str
    status: int
    size: int
    """Bytes of the response as sent, head and framing included."""
    seconds: float
    """From the request's complete head to the end of its response."""
    referer: str
    user_agent: str
    named: Mapping[str, str] = {}
    """What the format asks for by name, such as ``request:traceparent``."""

    def fields(self) -> dict[str, Any]:
        """The fields as strings and numbers that are safe to log."""
        fields: dict[str, Any] = {name: get(self) for name, get in _FIELDS.items()}
        for field, value in self.named.items():
            fields[field] = escape(value)
        return fields


_FIELDS: dict[str, Callable[[AccessEntry], object]] = {
    "client": attrgetter("client"),
    "method": lambda entry: escape(entry.method),
    "target": lambda entry: escape(entry.target),
    "protocol": attrgetter("protocol"),
    "status": attrgetter("status"),
    "size": attrgetter("size"),
    "duration": lambda entry: f"{entry.seconds * 1000:.1f}ms",
    "seconds": lambda entry: round(entry.seconds, 6),
    "referer": lambda entry: escape(entry.referer),
    "user_agent": lambda entry: escape(entry.user_agent),
}
"""Each field of a format, as a string or a number that is safe to log."""
_CONVERSION = re.compile(r"%(?:\(((?:[^()]|\([^()]*\))*)\)|%)")


class LineFormat:
    """A format of access lines, which makes only what it names of an entry.

    Args:
        line_format: with ``%(name)s`` for each field.
    """

    def __init__(self, line_format: str) -> None:
        self._getters: list[Callable[[AccessEntry], object]] = []
        self._template = _CONVERSION.sub(self._take, line_format)

    def _take(self, match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return match[0]  # a percent sign
        self._getters.append(_FIELDS.get(name) or _named_getter(name))
        return "%"

    def line(self, entry: AccessEntry) -> str:
        """What the format makes of `entry`."""
        return self._template % tuple([get(entry) for get in self._getters])


def _named_getter(name: str) -> Callable[[AccessEntry], object]:
    return lambda entry: escape(entry.named[name])


class EntryHandler(logging.Handler):
    """A handler that can write an entry without a record of it."""

    def write_entry(self, entry: AccessEntry, message: str) -> bool:
        """Write `message`, the line of `entry`, as `emit` would. False: it has to be a record."""
        raise NotImplementedError


_STANDARD = (logging.Logger.handle, logging.Logger.callHandlers, logging.Logger.makeRecord)


class AccessLogger:
    """Writes one line per request; called in the worker thread, after the response's last byte."""

    def __init__(self, line_format: str = DEFAULT_FORMAT) -> None:
        self._format = line_format
        self._line_format = LineFormat(line_format)
        self._named = named_fields(line_format)
        self._logger = logging.getLogger(ACCESS_LOGGER)

    def is_enabled(self) -> bool:
        """Whether anyone would see an entry; asked before one is made."""
        return self._logger.isEnabledFor(logging.INFO)

    def pick(
        self, environ: Mapping[str, object], headers: Iterable[tuple[str, str]]
    ) -> dict[str, str]:
        """What the format asks for by name, out of an environ and a response's headers."""
        if not self._named:
            return {}
        answers = {name.lower(): value for name, value in headers}
        return {
            field: str((answers if is_of_response else environ).get(name, "-"))
            for field, is_of_response, name in self._named
        }

    def log(self, entry: AccessEntry) -> None:
        """Log one request that the application was called for."""
        logger = self._logger
        if not logger.isEnabledFor(logging.INFO):
            return
        handler = self._only_handler()
        if handler is not None and handler.write_entry(entry, self._line_format.line(entry)):
            return
        # What Logger.info() does, without its search through the stack for the calling function,
        # which is always this one, and without comparing each name in `extra` with those of a
        # record, which are others. Together they took a fifth of the time of a line.
        fields = entry.fields()
        record = logger.makeRecord(
            logger.name, logging.INFO, __file__, _LINE, self._format, (fields,), None, "log"
        )
        record.__dict__.update(fields)
        logger.handle(record)

    def _only_handler(self) -> EntryHandler | None:
        """The handler that alone would see the record, if it needs none.

        A record, its way through the handlers and its formatter cost a third of a Flask view that
        says hello. So none is made where that cannot be told: no filter, no other handler and no
        other class or function would ever get it, such as those by which Sentry and OpenTelemetry
        see what is logged. A factory of records may say by its attribute ``leaves_access_lines``
        that it would do nothing with it.
        """
        logger = self._logger
        owner = logger.parent if logger.propagate and not logger.handlers else logger
        if owner is None or owner.propagate or logger.filters or len(owner.handlers) != 1:
            return None
        handler, cls = owner.handlers[0], type(logger)
        if not isinstance(handler, EntryHandler):
            return None
        if handler.filters or handler.level > logging.INFO:
            return None
        factory: object = logging.getLogRecordFactory()
        is_plain = factory is logging.LogRecord or getattr(factory, "leaves_access_lines", False)
        is_standard = (cls.handle, cls.callHandlers, cls.makeRecord) == _STANDARD
        return handler if is_standard and is_plain else None


_LINE = AccessLogger.log.__code__.co_firstlineno


def escape(text: str) -> str:
    """`text` with control characters, quotes and backslashes as ``\\xNN``."""
    # Nearly all is clean, and telling so is far cheaper than copying it.
    if type(text) is str and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return str.translate(text, _ESCAPES)


def check_format(line_format: str) -> None:
    """Refuse a format that no entry can fill in.

    Raises:
        ValueError: names the field or the conversion that does not exist.
    """
    named = {field: "" for field, _, _ in named_fields(line_format)}
    entry = AccessEntry("", "", "", "", 200, 0, 0.0, "", "", named)
    try:
        line = LineFormat(line_format).line(entry)
    except KeyError as error:
        names = ", ".join(entry.fields())
        raise ValueError(
            f"there is no field {error}; the fields are {names}, and request:HEADER, "
            "response:HEADER, environ:KEY"
        ) from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{line_format!r} is no %(name)s format: {error}") from None
    if line == line_format:
        raise ValueError(f"{line_format!r} names no field; write %(status)s and the like")
