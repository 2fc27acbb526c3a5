"""Every option of a server, declared once.

The keyword arguments of the doors, the command line, the ``ASYNCWSGI_*`` environment variables and
the reference table in ``docs/`` are all made from these fields. Constructing a `Config` reads
nothing and changes nothing outside itself.

Units: a ``*_timeout`` is seconds, a ``*_size`` bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Literal, get_args

from asyncwsgi.access_log import DEFAULT_FORMAT, check_format
from asyncwsgi.errors import ConfigError
from asyncwsgi.trusted_peers import TrustedPeers
from asyncwsgi.words import nearest, with_article

Loop = Literal["auto", "uvloop", "asyncio"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

_SEVERAL_PROCESSES = (
    "a server is one process; several are asyncwsgi.run('module:app', workers=N), or the command "
    "line's: asyncwsgi --workers N APP"
)
_FLAGS = {
    **{
        name: name
        for name in (
            "reload",
            "reload_dir",
            "reload_include",
            "reload_exclude",
            "debug",
            "debugger",
        )
    },
    # As others call them: uvicorn, Werkzeug.
    **{f"{name}s": name for name in ("reload_dir", "reload_include", "reload_exclude")},
    "extra_files": "reload_include",
    "exclude_patterns": "reload_exclude",
    "use_reloader": "reload",
    "use_debugger": "debug",
}
_ELSEWHERE = {
    **{
        name: f"the command line has it: asyncwsgi --{flag.replace('_', '-')} ... APP"
        for name, flag in _FLAGS.items()
    },
    "workers": _SEVERAL_PROCESSES,
    "processes": _SEVERAL_PROCESSES,
}
"""Where to find what other servers have as an option, or the command line has."""

_IN_LOG_CONFIG = ("log_format", "log_level", "access_log_file")
"""Options that say what the file of log_config says."""

KIB = 1024
FIRST_PORT = 8000
LARGEST_PORT = 65535
AUTO = "auto"

FORWARDED_HEADERS = (
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
    "x-forwarded-prefix", "forwarded",
)  # fmt: skip
"""The headers that `forwarded_headers` may name."""


@dataclass(frozen=True, slots=True)
class Option:
    """What the doors need to know of a field beyond its type and default."""

    help: str
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """What it may be besides a number."""
    on_command_line: bool = True
    implied_by: str = ""
    """Another option, that is on or off, whose value it has unless it is given itself."""
    metavar: str | None = None
    """What its value is called by ``--help``, if not by its type."""
    is_secret: bool = False
    """Whether what it says may be seen by nobody: in a log, an environment, a list of processes."""
    holds_paths: bool = False
    """Whether it is a path, or several, which an environment variable separates as paths are."""
    hidden: bool = False
    """Whether it is left out of ``--help``, since it is there for who knows it from before."""


def declared(default: Any, text: str, *flags: str, **more: Any) -> Any:
    """A field of options, with its `Option`."""
    option = Option(text, flags, **more)
    return dataclasses.field(
        default=default, metadata={"option": option}, repr=not option.is_secret
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All options of one server.

    Raises:
        ConfigError: a value, or a combination of values, that cannot be served.
    """

    host: str = declared("127.0.0.1", "Host name or address to listen on.", "-h")
    port: int | str = declared(
        FIRST_PORT,
        "Port to listen on; 0 takes any free one, auto the first free one from 8000 upwards.",
        "-p",
        minimum=0,
        words=(AUTO,),
        metavar="INTEGER|auto",
    )
    bind: tuple[str, ...] = declared(
        (),
        "Listener in place of host and port: HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N; for "
        "proxies that speak uwsgi: uwsgi://HOST:PORT, uwsgi+unix:PATH, uwsgi+fd://N. May be given "
        "several times.",
        "-b",
        metavar="ADDRESS",
    )
    uwsgi_allow_ips: str = declared(
        "",
        "Proxies that may connect to uwsgi:// listeners: addresses, networks, '*' for everybody; "
        "separated by commas. Needed unless only this machine can connect.",
    )
    socket_mode: str | None = declared(
        None, "Mode of the files of Unix sockets, octal: 660 for instance; else the umask decides."
    )
    backlog: int = declared(2048, "Connections the kernel may hold before accept.", minimum=1)

    threads: int = declared(40, "Most worker threads; they start on demand.", minimum=1)
    queue_size: int = declared(
        2048, "Most requests waiting for a worker thread; beyond it 503.", minimum=1
    )
    thread_idle_timeout: float = declared(
        60.0, "Seconds after which worker threads without work end.", minimum=0.01
    )
    executor: Executor | None = declared(
        None, "Runs the application in place of the worker threads.", on_command_line=False
    )
    cancel_on_disconnect: bool = declared(
        False, "Cancel async views whose client has left before they have answered."
    )
    async_views_on_loop: bool = declared(
        True,
        "Run async views (what asgiref runs for Flask and Django) on the server's loop; off: each "
        "on a loop of its own.",
    )
    park_async_views: bool = declared(
        False,
        "Let the threads of requests that wait for a coroutine run others meanwhile (needs "
        "greenlet).",
    )
    max_parked: int = declared(
        10000,
        "Most requests that wait without a thread (park_async_views); beyond it each keeps its "
        "thread while it waits.",
        minimum=0,
    )
    lifespan: Callable[[], contextlib.AbstractAsyncContextManager[object]] | None = declared(
        None,
        "Makes the async context manager inside which the server serves: MODULE:NAME, or the "
        "callable itself.",
    )
    context: Callable[[], Context] | None = declared(
        None,
        "Called once, when the server is made; each request runs in a copy of the Context it "
        "returns, and not in an empty one.",
        on_command_line=False,
    )

    certfile: str | None = declared(
        None, "TLS certificate chain (PEM); turns TLS on.", holds_paths=True
    )
    keyfile: str | None = declared(
        None, "TLS private key (PEM), if not in the certificate's file.", holds_paths=True
    )
    ca_certs: str | None = declared(
        None,
        "Authorities (PEM) that must have signed the client's certificate (mutual TLS).",
        holds_paths=True,
    )
    keyfile_password: str | None = declared(
        None,
        "Passphrase of the private key, or file:PATH for the first line of a file, which no list "
        "of processes shows; without it, whoever starts the server on a terminal is asked.",
        metavar="PASSWORD",
        is_secret=True,
    )
    adhoc_cert: bool = declared(
        False,
        "Serve TLS with a certificate for localhost, 127.0.0.1 and ::1, for development: made by "
        "trustme, and kept for this user.",
    )
    ssl_context: SSLContext | None = declared(
        None, "A TLS context in place of certificate files.", on_command_line=False
    )

    head_timeout: float = declared(
        15.0, "Seconds for a whole request head, from its first byte (408).", minimum=0.01
    )
    body_timeout: float = declared(
        30.0, "Seconds without a byte of a request body that is awaited (408).", minimum=0.01
    )
    keep_alive_timeout: float = declared(
        75.0, "Seconds a connection may wait for its next request.", minimum=0.01
    )
    send_timeout: float = declared(
        60.0,
        "Seconds without progress after which a client that does not read is cut.",
        minimum=0.01,
    )
    drain_timeout: float = declared(
        5.0,
        "Seconds spent on reading what a client still sends after its response.",
        minimum=0.01,
    )
    tls_handshake_timeout: float = declared(10.0, "Seconds for the TLS handshake.", minimum=0.01)
    graceful_timeout: float = declared(
        10.0, "Seconds that requests in flight get at shutdown before they are cut.", minimum=0
    )

    max_head_size: int = declared(
        64 * KIB, "Most bytes of a request line and its headers (431).", minimum=256
    )
    max_headers: int = declared(200, "Most header lines of a request (431).", minimum=1)
    max_target_size: int = declared(16 * KIB, "Most bytes of a request target (414).", minimum=1)
    max_body_size: int = declared(
        0, "Most bytes of a request body (413); 0 is no limit.", minimum=0
    )
    max_connections: int = declared(
        0,
        "Most connections at a time; beyond it 503. 0 is as many as the process may have files "
        "open, less a reserve for the application.",
        minimum=0,
    )
    max_buffered_size: int = declared(
        64 * KIB * KIB,
        "Bytes of request bodies in transit, of messages of WebSockets and of unsent responses, of "
        "all connections together, beyond which new bodies are not read until there is room. 0 is "
        "no limit.",
        minimum=0,
    )
    body_buffer_size: int = declared(
        256 * KIB, "Bytes of a request body held before (and while) a thread reads it.", minimum=1
    )
    max_spool_size: int = declared(
        256 * KIB * KIB,
        "Most bytes of a chunked request body that is collected, on disk beyond body_buffer_size, "
        "before the application is called (413).",
        minimum=0,
    )
    stream_chunked_bodies: bool = declared(
        False,
        "Call the application before a chunked request body is complete: it has no CONTENT_LENGTH "
        "then, only wsgi.input_terminated.",
    )
    response_buffer_size: int = declared(
        256 * KIB, "Unsent bytes of a response above which its worker thread waits.", minimum=1
    )
    drain_size: int = declared(
        KIB * KIB,
        "Bytes of an unread request body that are read to keep the connection.",
        minimum=0,
    )

    shutdown_delay: float = declared(
        0.0,
        "Seconds for which SIGTERM lets the server go on to serve, though not ready any more "
        "(ready_path), before its listeners close; a second signal skips them.",
        minimum=0,
    )
    health_path: str = declared(
        "", "Path answered with 200 by the loop itself, also while all threads are busy."
    )
    ready_path: str = declared(
        "", "Path answered with 200 by the loop itself, and with 503 once the server stops."
    )
    metrics_bind: str = declared(
        "", "HOST:PORT at which Prometheus finds metrics; needs the package prometheus_client."
    )
    count_requests: bool = declared(
        False,
        "Count requests and how long they take, for Server.stats(); metrics_bind implies it.",
    )

    root_path: str = declared("", "SCRIPT_NAME: the path at which a proxy mounts the application.")
    forwarded_allow_ips: str = declared(
        "",
        "Proxies whose forwarding headers are believed: addresses, networks, 'unix' for whoever "
        "connects to a Unix socket, '*' for everybody; separated by commas.",
    )
    forwarded_headers: str = declared(
        "x-forwarded-for,x-forwarded-proto",
        "The forwarding headers that these proxies write; only those are believed. "
        f"Of {', '.join(FORWARDED_HEADERS)}; the last one excludes the others.",
    )
    strip_forwarded: bool = declared(
        False, "Take forwarding headers that are not believed out of all requests."
    )
    proxy_protocol: bool = declared(
        False,
        "Have every connection begin with a header of the PROXY protocol (v1 or v2), which tells "
        "the client's address.",
    )
    proxy_protocol_allow_ips: str = declared(
        "",
        "Proxies that write these headers, in the form of forwarded_allow_ips; all others are "
        "refused.",
    )
    server_header: bool = declared(True, "Say in the header Server that this is asyncwsgi.")
    access_log: bool = declared(True, "Log every request.")
    access_log_format: str = declared(DEFAULT_FORMAT, "Format of an access line, %(name)s style.")
    access_log_file: str | None = declared(
        None,
        "File to which access lines are appended, and not to standard error; opened anew when it "
        "was rotated.",
        metavar="FILE",
    )
    log_config: str | None = declared(
        None,
        "File that says where and how log lines are written, as logging.config takes it: TOML, "
        "JSON or INI, by its suffix. It takes the place of log_format, log_level and "
        "access_log_file.",
        metavar="FILE",
    )
    log_format: LogFormat = declared("text", "Form of log lines.", choices=get_args(LogFormat))
    log_level: LogLevel = declared("info", "Least level logged.", choices=get_args(LogLevel))
    loop: Loop = declared(
        "auto",
        "Event loop; auto is uvloop where it is installed and gevent has patched nothing.",
        choices=get_args(Loop),
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check(field, field.metadata["option"])
        self._check_bind()
        self._check_uwsgi()
        self._check_port()
        if self.socket_mode is not None:
            octal(self.socket_mode, "socket_mode")
        self._check_tls()
        self._check_root_path()
        self._check_observation()
        self._check_forwarding()
        self._check_proxy_protocol()
        self._check_log()
        self._check_executor()
        self._check_async_views()
        try:
            check_format(self.access_log_format)
        except ValueError as error:
            raise ConfigError(f"access_log_format: {error}") from None

    def _check(self, field: dataclasses.Field[Any], option: Option) -> None:
        value = getattr(self, field.name)
        if value in option.words:
            return
        if field.default is None:
            self._check_optional(field.name, value)
        else:
            self._check_type(field.name, value, type(field.default))
        if option.minimum is not None and not value >= option.minimum:
            raise ConfigError(f"{field.name} must be at least {option.minimum}, got {value!r}")
        if option.choices and value not in option.choices:
            choices = ", ".join(option.choices)
            raise ConfigError(f"{field.name} must be one of {choices}, got {value!r}")

    def _check_type(self, name: str, value: object, wanted: type) -> None:
        if isinstance(value, bool) and wanted is not bool:
            fits = False
        else:
            fits = isinstance(value, (int, float) if wanted is float else wanted)
        if not fits:
            got = type(value).__name__
            said = got if name in SECRETS else f"{value!r} ({got})"
            raise ConfigError(f"{name} must be {with_article(wanted)}, got {said}")

    def _check_optional(self, name: str, value: object) -> None:
        if name in ("lifespan", "context"):
            self._check_callable(name, value)
            return
        wanted = {"executor": Executor, "ssl_context": SSLContext}.get(name, str)
        if value is not None:
            self._check_type(name, value, wanted)

    def _check_callable(self, name: str, value: object) -> None:
        if value is not None and not callable(value):
            got = type(value).__name__
            raise ConfigError(f"{name} must be callable with no argument, got {value!r} ({got})")

    def _check_bind(self) -> None:
        for bind in self.bind:
            self._check_type("bind", bind, str)

    def _check_uwsgi(self) -> None:
        try:
            TrustedPeers(self.uwsgi_allow_ips)
        except ValueError as error:
            raise ConfigError(f"uwsgi_allow_ips: {error}") from None

    def _check_port(self) -> None:
        if isinstance(self.port, int) and self.port > LARGEST_PORT:
            raise ConfigError(f"port must be at most {LARGEST_PORT}, got {self.port}")

    def _check_tls(self) -> None:
        if self.ssl_context is not None and self.certfile is not None:
            raise ConfigError("certfile and ssl_context exclude each other; give one of them")
        if self.adhoc_cert and (self.certfile is not None or self.ssl_context is not None):
            name = "certfile" if self.certfile is not None else "ssl_context"
            raise ConfigError(f"adhoc_cert and {name} exclude each other; give one of them")
        if self.certfile is None and self.ssl_context is None:
            for name in ("keyfile", "keyfile_password", "ca_certs"):
                if getattr(self, name) is not None:
                    raise ConfigError(f"{name} needs certfile, which turns TLS on")
        if self.ssl_context is not None and (
            self.keyfile or self.keyfile_password or self.ca_certs
        ):
            raise ConfigError(
                "keyfile, keyfile_password and ca_certs go with certfile; ssl_context holds its own"
            )

    def _check_root_path(self) -> None:
        # PEP 3333: SCRIPT_NAME is empty or begins with a slash, and is never "/" itself.
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise ConfigError(
                f"root_path must begin with a slash and not end with one, got {self.root_path!r}"
            )

    def _check_observation(self) -> None:
        for name in ("health_path", "ready_path"):
            path = getattr(self, name)
            if path and (not path.startswith("/") or "?" in path or not path.isprintable()):
                raise ConfigError(f"{name} must begin with a slash and have no query, got {path!r}")
        if self.health_path and self.health_path == self.ready_path:
            raise ConfigError(
                f"health_path and ready_path are both {self.ready_path!r}; a server that stops is "
                "healthy and not ready, so they need a path each"
            )
        host, _, port = self.metrics_bind.rpartition(":")
        if self.metrics_bind and not (host and port.isascii() and port.isdigit()):
            raise ConfigError(
                f"metrics_bind must be HOST:PORT, got {self.metrics_bind!r}; 127.0.0.1:9100 shows "
                "metrics to this machine alone"
            )

    def _check_forwarding(self) -> None:
        self._check_peers("forwarded_allow_ips")
        names = [name.lower() for name in listed(self.forwarded_headers)]
        for name in names:
            if name not in FORWARDED_HEADERS:
                known = ", ".join(FORWARDED_HEADERS)
                raise ConfigError(f"forwarded_headers: {name!r} is none; expected some of {known}")
        if "forwarded" in names and len(set(names)) > 1:
            # Whoever writes one of them hands on what the client has sent of the other.
            raise ConfigError(
                "forwarded_headers: 'forwarded' says all that the others say, and excludes them; "
                "name only what the proxy writes itself"
            )

    def _check_proxy_protocol(self) -> None:
        is_named = self._check_peers("proxy_protocol_allow_ips")
        if self.proxy_protocol and not is_named:
            raise ConfigError(
                "proxy_protocol needs proxy_protocol_allow_ips, which names the proxies: anybody "
                "else could claim any address"
            )
        if is_named and not self.proxy_protocol:
            raise ConfigError("proxy_protocol_allow_ips is for proxy_protocol, which is off")

    def _check_peers(self, name: str) -> bool:
        """Whether the option names any peers."""
        try:
            return bool(TrustedPeers(getattr(self, name)))
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None

    def _check_log(self) -> None:
        if self.access_log_file is not None and not self.access_log:
            raise ConfigError("access_log_file is for access_log, which is off; leave one out")
        if self.log_config is not None:
            for each in dataclasses.fields(self):
                is_given = getattr(self, each.name) != each.default
                if each.name in _IN_LOG_CONFIG and is_given:
                    raise ConfigError(
                        f"{each.name} and log_config exclude each other; say it in the file "
                        f"{self.log_config}"
                    )

    def _check_executor(self) -> None:
        if isinstance(self.executor, ProcessPoolExecutor):
            raise ConfigError(
                "executor must run threads: a request cannot be pickled to another process; "
                "use a ThreadPoolExecutor or leave it to the worker threads"
            )

    def _check_async_views(self) -> None:
        if self.cancel_on_disconnect and not self.async_views_on_loop:
            raise ConfigError(
                "cancel_on_disconnect cancels views that run on the server's loop, and "
                "async_views_on_loop is off; turn it on, or decorate views with "
                "@asyncwsgi.cancel_on_disconnect"
            )
        if self.park_async_views and not self.async_views_on_loop:
            raise ConfigError(
                "park_async_views frees the threads of requests that wait for the server's loop, "
                "and async_views_on_loop is off; turn it on"
            )
        if self.park_async_views and self.executor is not None:
            raise ConfigError(
                "park_async_views needs threads of the server's own, and executor replaces them; "
                "leave one of the two out"
            )

    @property
    def has_tls(self) -> bool:
        """Whether listeners speak TLS."""
        return self.ssl_context is not None or self.certfile is not None or self.adhoc_cert

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Config:
        """Make a `Config` of keyword arguments.

        Raises:
            ConfigError: also for a name that is no option, with the nearest one.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in options:
            if name not in known:
                cure = _ELSEWHERE.get(name) or nearest(name, known)
                raise ConfigError(f"there is no option {name!r}; {cure}")
        values = dict(options)
        with contextlib.suppress(KeyError):
            values["bind"] = _as_tuple(values["bind"])
        return cls(**values)


def listed(names: str) -> list[str]:
    """What an option names that is a list, separated by commas."""
    return [stripped for name in names.split(",") if (stripped := name.strip())]


def octal(text: str, name: str) -> int:
    """The mode of a file, or a mask of it, that `text` says.

    Raises:
        ConfigError: it says none; `name` is that of the option.
    """
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ConfigError(f"{name} must be octal, from 0 to 777, got {text!r}")
    return mode


def _as_tuple(bind: object) -> object:
    if isinstance(bind, str):
        return (bind,)
    return tuple(bind) if isinstance(bind, list) else bind


def option_fields(options: Any = Config) -> list[tuple[dataclasses.Field[Any], Option]]:
    """Every field of `options` with its `Option`, in order: what the doors are generated from."""
    return [(field, field.metadata["option"]) for field in dataclasses.fields(options)]


SECRETS = tuple(field.name for field, option in option_fields() if option.is_secret)
"""The names of options whose values nobody may see."""
