"""Whether a response may get the script that refreshes its page. Pure: it looks at heads alone.

What is left alone has a reason each. A page of which the browser keeps a copy to be revalidated
(ETag, Last-Modified) is not what its validator says once something is added. Nothing can be added
to a part of a response, to a compressed one, or to one whose digest is told. What no person looks
at (a download, a fragment that a script fetches) needs no refresh. And where the page's own policy
(CSP) does not allow the script, or the event stream that it opens, the browser would complain, and
the policy's reports would name what the application never sent.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from typing import Any

_LEAVING_ALONE = frozenset({
    "etag", "last-modified",  # the copy that a browser keeps is revalidated by them
    "content-range",
    "content-md5", "digest", "content-digest", "repr-digest", "signature",
    "integrity-policy", "integrity-policy-report-only",
})  # fmt: skip
_CONDITIONS = (
    "HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE",
)  # fmt: skip
_FRAGMENTS = ("HTTP_HX_REQUEST", "HTTP_TURBO_FRAME", "HTTP_X_UP_VERSION", "HTTP_X_PJAX")
"""What libraries say that put HTML into a page which is there already."""
_SHOWN = ("document", "iframe")
_POLICIES = ("content-security-policy", "content-security-policy-report-only")

_CHARSET = re.compile(r"\bcharset\s*=\s*[\"']?([^\s;\"']*)", re.IGNORECASE)

Headers = Iterable[tuple[str, str]]


def shows_page(environ: Mapping[str, Any]) -> bool:
    """Whether a request loads a page into a window.

    Browsers say so by Sec-Fetch-Dest, to HTTPS and to localhost alone. Elsewhere, and old ones, say
    by Accept that they load a page: scripts that fetch something say ``*/*``. Only what GET loads
    can be loaded again: a form would be sent twice.
    """
    if environ["REQUEST_METHOD"] != "GET":
        return False
    if any(name in environ for name in _CONDITIONS + _FRAGMENTS):
        return False
    destination = environ.get("HTTP_SEC_FETCH_DEST")
    if destination is not None:
        return destination in _SHOWN
    if environ.get("HTTP_X_REQUESTED_WITH", "").lower() == "xmlhttprequest":
        return False
    return "text/html" in environ.get("HTTP_ACCEPT", "").lower()


def takes_script(status: str, headers: Headers, origin: str) -> bool:
    """Whether a page with this head may get the script, if its body is a document.

    Args:
        status: as ``200 OK``.
        headers: all of the application's.
        origin: the page's, as ``http://localhost:8000``.
    """
    if status[:1] not in ("2", "4", "5") or status[:3] in ("204", "205", "206"):
        return False
    fields = [(name.lower(), value) for name, value in headers]
    if any(name in _LEAVING_ALONE for name, _ in fields):
        return False
    values = dict(fields)
    if values.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return False
    if values.get("content-disposition", "").strip().lower().startswith("attachment"):
        return False
    return _is_html(values.get("content-type", "")) and all(
        policy_allows(value, origin) for name, value in fields if name in _POLICIES
    )


def _is_html(content_type: str) -> bool:
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() != "text/html":
        return False
    charset = _CHARSET.search(parameters)
    return charset is None or _extends_ascii(charset[1])


def _extends_ascii(charset: str) -> bool:
    """Whether ASCII means itself, wherever it stands in a text of that charset."""
    try:
        name = codecs.lookup(charset).name
        text = bytes(range(32, 127)).decode(name)
    except (LookupError, UnicodeError, TypeError):
        return False
    # Some have states, in which the bytes of ASCII mean others: ISO-2022, HZ, UTF-7.
    return text.encode("ascii", "replace") == bytes(range(32, 127)) and not name.startswith(
        ("iso2022", "hz", "utf-7", "utf-16", "utf-32")
    )


def policy_allows(policies: str, origin: str) -> bool:
    """Whether Content Security Policies let a page load a script of its origin, and fetch there.

    Args:
        policies: the value of a header, or of a ``<meta>``; several are separated by commas.
        origin: the page's.
    """
    return all(_allows(policy, origin) for policy in policies.split(","))


def _allows(policy: str, origin: str) -> bool:
    directives: dict[str, list[str]] = {}
    for directive in policy.split(";"):
        name, *sources = directive.split() or [""]
        # CSP 3, 2.2.1: of those that repeat, the first counts.
        directives.setdefault(name.lower(), sources)
    if "sandbox" in directives or "require-sri-for" in directives:
        return False  # a sandbox may have an origin of its own, to which nothing is its own
    scripts = _sources(directives, "script-src-elem", "script-src", "default-src")
    fetches = _sources(directives, "connect-src", "default-src")
    if scripts is not None and "'strict-dynamic'" in map(str.lower, scripts):
        return False  # then the sources that name hosts say nothing (CSP 3, 8.2)
    return _names(scripts, origin) and _names(fetches, origin)


def _sources(directives: Mapping[str, list[str]], *names: str) -> list[str] | None:
    return next((directives[name] for name in names if name in directives), None)


def _names(sources: list[str] | None, origin: str) -> bool:
    """Whether the page's own origin is among `sources`; None is no restriction."""
    if sources is None:
        return True
    origin = origin.lower()
    scheme, _, host = origin.partition("://")
    own = {"'self'", "*", origin, f"{origin}/", host, f"{host}/", f"{scheme}:", "http:"}
    return any(source.lower() in own for source in sources)
