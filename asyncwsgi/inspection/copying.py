"""A request that was kept, as a command or a program that sends it: what is copied is to be run.

Everything in it comes from clients, so everything is quoted: by `shlex.quote` for a shell, by
`repr` for Python. A terminal is no safe place for what is within quotes either: a body may have
what ends a paste, and the rest would be typed. So a shell gets as text what is printable, and the
rest in base64. Pure.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from functools import partial
from shlex import quote
from typing import Any

from asyncwsgi.inspection.origin import Origin
from asyncwsgi.inspection.outgoing import Outgoing, outgoing

Entry = Mapping[str, Any]

_PLAIN_TARGET = re.compile(r"/(?!/)(?:[\w\-~/?=&+,:@]|\.(?!\.?(?:/|\?|$))|%[0-9A-F]{2})*", re.ASCII)
"""A target that clients send as it is: others escape some of it, and resolve dots."""
_OWN_OF_CURL = ("User-Agent", "Accept")
"""What curl adds of its own."""
NOWHERE = Origin(("127.0.0.1", 8000), is_tls=False)
"""In the place of an origin, where there is no listener for HTTP."""


def copiers(origin: Origin | None, *, is_masked: bool) -> dict[str, Callable[[Entry], str]]:
    """What can be copied, by the names of the ways.

    Args:
        origin: where the application is served.
        is_masked: whether secrets were masked when requests were kept.
    """
    ways: dict[str, Callable[..., str]] = {"curl": as_curl, "httpx": as_httpx, "test": as_test}
    return {
        name: partial(way, origin=origin or NOWHERE, is_masked=is_masked)
        for name, way in ways.items()
    }


def as_curl(entry: Entry, *, origin: Origin, is_masked: bool) -> str:
    """A command for a POSIX shell.

    Raises:
        Failed: there is no such request.
    """
    request = outgoing(entry, {}, is_masked=is_masked)
    headers, lost = _shell_headers(request, origin)
    arguments = ["curl", "--path-as-is", "--globoff", *_curl_connection(origin)]
    if request.method == "HEAD":
        arguments.append("--head")
    elif request.method != "GET" or request.body:
        arguments.append(f"--request {quote(request.method)}")
    url = "http://localhost" if isinstance(origin.address, str) else origin.url
    arguments.append(quote(url + request.target))
    arguments += [f"--header {quote(header)}" for header in headers]
    before = "".join(f": {quote(note)}\n" for note in _notes(request, lost))
    if request.has_body and request.method != "HEAD":
        pipe, argument = _curl_body(request.body)
        before += pipe
        arguments.append(argument)
    return before + " \\\n  ".join(arguments) + "\n"


def _curl_connection(origin: Origin) -> list[str]:
    connection = ["--insecure"] if origin.is_tls else []
    if isinstance(origin.address, str):
        connection.append(f"--unix-socket {quote(origin.address)}")
    return connection


def _curl_body(body: bytes) -> tuple[str, str]:
    """What stands before the command, and the argument with the body."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.replace("\n", "").isprintable():
        return "", f"--data-raw {quote(text)}"
    encoded = base64.b64encode(body).decode()
    return f"printf %s {quote(encoded)} | base64 -d | ", "--data-binary @-"


def _shell_headers(request: Outgoing, origin: Origin) -> tuple[list[str], list[str]]:
    """Headers as curl takes them, and the names of those that no shell can hold."""
    headers, lost = [], []
    given = {name.lower() for name, _ in request.headers}
    for name, value in request.headers:
        if _is_host_of(name, value, origin):
            continue
        try:
            text = value.encode("latin-1").decode()
        except UnicodeDecodeError:
            text = "\0"
        if not text.isprintable():
            lost.append(name)
        else:
            # What has no value would be left out, without the semicolon.
            headers.append(f"{name}: {text}" if text else f"{name};")
    own = [*_OWN_OF_CURL, *(["Content-Type"] if request.has_body else [])]
    return headers + [f"{name}:" for name in own if name.lower() not in given], lost


def _is_host_of(name: str, value: str, origin: Origin) -> bool:
    """Whether it is the header that a client makes of the URL; whoever copies need not read it."""
    if name.lower() != "host":
        return False
    if isinstance(origin.address, str):
        return value.lower() == "localhost"
    names = ("127.0.0.1", "localhost", "[::1]")
    return value.lower() in (origin.host, *(f"{one}:{origin.address[1]}" for one in names))


def _notes(request: Outgoing, lost: list[str]) -> list[str]:
    notes = []
    if request.left_out:
        notes.append(f"left out, since they were masked: {', '.join(request.left_out)}")
    if lost:
        notes.append(f"left out, since a shell cannot hold them: {', '.join(lost)}")
    if request.objection:
        notes.append(f"not as it was: {request.objection}")
    return notes


def as_httpx(entry: Entry, *, origin: Origin, is_masked: bool) -> str:
    """A Python program that sends it with httpx.

    Raises:
        Failed: there is no such request.
    """
    request = outgoing(entry, {}, is_masked=is_masked)
    url = "http://localhost" if isinstance(origin.address, str) else origin.url
    options = ["verify=False"] if origin.is_tls else []
    if isinstance(origin.address, str):
        options.append(f"transport=httpx.HTTPTransport(uds={origin.address!r})")
    lines = [
        *(f"# {note[0].upper()}{note[1:]}" for note in _notes(request, [])),
        "import httpx",
        "",
        f"with httpx.Client({', '.join(options)}) as client:",
        *_indented(_call(request, repr(url), origin, is_stream=_is_stream(entry))),
    ]
    lines += _indented(
        ["    print(response.status_code)", "    for line in response.iter_lines():",
         "        print(line)"]
        if _is_stream(entry)
        else ["print(response.status_code)", "print(response.text)"]
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def as_test(entry: Entry, *, origin: Origin, is_masked: bool) -> str:
    """A test for pytest, with the fixture `asyncwsgi_server`: the status is as it was.

    Raises:
        Failed: there is no such request.
    """
    request = outgoing(entry, {}, is_masked=is_masked)
    is_stream = _is_stream(entry)
    call = _call(request, "asyncwsgi_server.url", origin, is_stream=is_stream)
    check = [f"assert response.status_code == {entry['status']}"] if entry["status"] else []
    lines = [
        "import httpx",
        "",
        "",
        f"def {_name_of(request)}(asyncwsgi_server):",
        *_indented([f"# {note[0].upper()}{note[1:]}" for note in _notes(request, [])]),
        "    with httpx.Client() as client:",
        *_indented(call, 2),
        *_indented(check or (["pass"] if is_stream else []), 3 if is_stream else 1),
    ]
    return "\n".join(lines) + "\n"


def _call(request: Outgoing, url: str, origin: Origin, *, is_stream: bool) -> list[str]:
    """The lines of a call of a `client`."""
    headers = [
        (name, value if value.isascii() else value.encode("latin-1"))
        for name, value in request.headers
        if not _is_host_of(name, value, origin)
    ]
    arguments = [repr(request.method)]
    if _PLAIN_TARGET.fullmatch(request.target):
        arguments.append(f"{url} + {request.target!r}")
    else:
        arguments += [url, f"extensions={{'target': {request.target.encode()!r}}}"]
    if headers:
        pairs = "".join(f"\n        {pair!r}," for pair in headers)
        arguments.append(f"headers=[{pairs}\n    ]")
    if request.has_body:
        arguments.append(f"content={request.body!r}")
    inner = ",\n    ".join(arguments)
    begin, end = (
        ("with client.stream(", ") as response:")
        if is_stream
        else ("response = client.request(", ")")
    )
    return f"{begin}\n    {inner},\n{end}".split("\n")


def _is_stream(entry: Entry) -> bool:
    """Whether its response need not end."""
    return any(
        name.lower() == "content-type" and value.lower().startswith("text/event-stream")
        for name, value in entry["response_headers"]
    )


def _name_of(request: Outgoing) -> str:
    path = request.target.partition("?")[0]
    words = re.findall(r"[a-z0-9]+", f"{request.method} {path}".lower())
    return "_".join(["test", *words])[:60]


def _indented(lines: list[str], depth: int = 1) -> list[str]:
    return [f"{'    ' * depth}{line}" for line in lines]
