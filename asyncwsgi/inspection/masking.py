"""What is secret in a request or a response, and how it is left out before anything is kept.

Names decide: of header fields, of form fields, of the keys of JSON, of parameters in a query. What
they name becomes `MASK`, and the rest stays as it was sent, so that masked JSON is JSON and a
masked form is a form. Bodies come cut and broken, too. There the rule is: what cannot be read
cannot be told from a secret. So each reader keeps what it has understood, and drops what follows.

All of it works on text that was decoded as latin-1, whatever the charset: what gives JSON, forms
and markup their structure is ASCII, in UTF-8 too, and every byte comes back as it was. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import unquote_plus

MASK = "***"

_WORDS = (
    "passw", "passphrase", "passcode", "pwd", "token", "secret", "apikey", "api_key", "api-key",
    "accesskey", "access_key", "access-key", "privatekey", "private_key", "private-key", "csrf",
    "xsrf", "credential", "authorization", "sessionid", "session_id", "session-id", "jwt",
)  # fmt: skip
"""What makes a name that of a secret, wherever in it, in lower case."""
# The escapes are those of forms and of JSON, and what UTF-16 is full of.
_ESCAPES_AND_WORDS = ("%", "\\u", "\0", *_WORDS)
_WORD = re.compile("|".join(map(re.escape, _WORDS)), re.IGNORECASE)
_SECRET_FIELDS = frozenset({"cookie", "set-cookie", "authorization", "proxy-authorization"})


def is_secret(name: str) -> bool:
    """Whether what has this name is secret."""
    return _may_have_secret(name)


# Header fields and targets.

# Names repeat; what is known of one is kept. Bounded, since clients make them up.
_MOST_NAMES = 1024
_secret_fields: dict[str, bool] = {}


def mask_field(name: str, value: str) -> str:
    """The value of a header field as it may be kept."""
    known = _secret_fields.get(name)
    if known is None:
        known = name.lower() in _SECRET_FIELDS or is_secret(name)
        if len(_secret_fields) < _MOST_NAMES:
            _secret_fields[name] = known
    if known:
        return MASK
    # Referer, Location and their like.
    return mask_target(value) if "?" in value or "@" in value else value


_USERINFO = re.compile(r"(?<=//)[^/?#@\s]*@")


def mask_target(target: str) -> str:
    """A request target, or another URL, as it may be kept."""
    if "@" in target:
        target = _USERINFO.sub(f"{MASK}@", target)
    path, mark, query = target.partition("?")
    if not mark or not _may_have_secret(unquote_plus(query)):
        return target
    query, hash_mark, fragment = query.partition("#")
    # OAuth's implicit grant has its tokens there (RFC 6749 4.2.2).
    return f"{path}?{mask_form(query)}{hash_mark}{mask_form(fragment)}"


# Bodies.

_UNREAD = ("image/", "audio/", "video/", "font/", "text/css", "text/javascript")
"""Types whose content has no fields: a prefix of each."""


def mask_body(data: bytes, content_type: str) -> bytes:
    """The content of a body as it may be kept; as much of it as can be read.

    It may end anywhere: what is cut there counts for secret, if it could be.

    Args:
        data: without any content coding.
        content_type: the value of the header field; empty if there was none.
    """
    if _is_harmless(data):
        return data
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith(_UNREAD):
        return data
    mask = _masker_of(media_type, content_type, data)
    text = data.decode("latin-1")
    # Of a form, each part is judged by itself.
    if "\0" in text and media_type != "multipart/form-data":
        # UTF-16, where no word is found; or no text at all, in which nobody has named anything.
        return b"" if mask is not mask_text or media_type.startswith("text/") else data
    return mask(text).encode("latin-1")


def _masker_of(media_type: str, content_type: str, data: bytes) -> Callable[[str], str]:
    if media_type == "multipart/form-data":
        return lambda text: mask_multipart(text, content_type)
    if "json" in media_type or data.lstrip()[:1] in (b"{", b"["):
        return mask_json  # clients that name no type call it a form
    if media_type == "application/x-www-form-urlencoded":
        return mask_form
    if "html" in media_type:
        return mask_html
    return mask_xml if "xml" in media_type else mask_text


def _may_have_secret(text: str) -> bool:
    return any(map(text.lower().__contains__, _WORDS))


def _is_harmless(data: bytes) -> bool:
    """Whether no name of a secret can be in a body, however it is written."""
    contains = data.decode("latin-1").lower().__contains__
    return not any(map(contains, _ESCAPES_AND_WORDS))


def mask_form(text: str) -> str:
    """Fields of a form, or the parameters of a query."""
    if not _may_have_secret(unquote_plus(text)):
        return text
    return "&".join(
        ";".join(_masked_pair(pair) for pair in part.split(";")) for part in text.split("&")
    )


def _masked_pair(pair: str) -> str:
    name, mark, value = pair.partition("=")
    if not mark:
        # Something else than a form, sent as one.
        return MASK if _may_have_secret(unquote_plus(name)) else pair
    if is_secret(unquote_plus(name)):
        return f"{name}={MASK}"
    # A field may have a form or JSON in it.
    inner = unquote_plus(value)
    return f"{name}={MASK}" if mask_text(inner) != inner else pair


# JSON (RFC 8259), token by token and with a stack of our own: so what is not masked stays as it was
# written (numbers that Python could not hold, names that come twice), and neither a cut nor a depth
# is a reason to know nothing.
_JSON_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<text>"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*")
    |(?P<scalar>(?:true|false|null|-?[0-9][0-9.eE+\-]*)(?![^\s,\]}]))
    |(?P<sign>[{}\[\],:])""",
    re.VERBOSE | re.DOTALL,
)
_VALUE, _VALUE_OR_END, _KEY, _KEY_OR_END, _COLON, _NEXT = range(6)


def mask_json(text: str) -> str:
    """JSON, or lines of JSON; what follows a mistake is dropped."""
    # A name may be written with escapes.
    if not _may_have_secret(text) and "\\u" not in text:
        return text
    return _JsonMasker(text).masked()


class _JsonMasker:
    def __init__(self, text: str) -> None:
        self._text = text
        self._kept: list[str] = []
        self._expected = _VALUE
        self._stack: list[str] = []
        self._is_secret = False
        """Whether the value that is expected is."""
        self._hidden_from = -1
        """The depth of the secret object or array that is being skipped; -1 for none."""

    def masked(self) -> str:
        position = 0
        while position < len(self._text):
            match = _JSON_TOKEN.match(self._text, position)
            if match is None or not self._take(match.lastgroup or "", match[0]):
                break
            position = match.end()
        return "".join(self._kept)

    def _keep(self, token: str) -> None:
        if self._hidden_from < 0:
            self._kept.append(token)

    def _take(self, kind: str, token: str) -> bool:
        """Take one more token. False: it cannot stand here."""
        if kind == "space":
            self._keep(token)
            return True
        if kind == "text" and self._expected in (_KEY, _KEY_OR_END):
            return self._take_key(token)
        if token == ":" and self._expected == _COLON:
            self._keep(token)
            self._expected = _VALUE
            return True
        if token in ("}", "]"):
            return self._close(token)
        if token == ",":
            return self._go_on()
        if self._expected not in (_VALUE, _VALUE_OR_END):
            # Lines of JSON have no comma between them.
            if self._expected != _NEXT or self._stack:
                return False
            self._is_secret = False
        return self._take_value(kind, token)

    def _take_key(self, token: str) -> bool:
        try:
            name: str = json.loads(token)
        except ValueError:
            return False
        self._keep(token)
        self._is_secret = is_secret(name)
        self._expected = _COLON
        return True

    def _take_value(self, kind: str, token: str) -> bool:
        if token in ("{", "["):
            if self._is_secret and self._hidden_from < 0:
                self._kept.append(f'"{MASK}"')
                self._hidden_from = len(self._stack)
            self._keep(token)
            self._stack.append(token)
            self._is_secret = False
            self._expected = _KEY_OR_END if token == "{" else _VALUE_OR_END
            return True
        if kind not in ("text", "scalar"):
            return False
        self._keep(f'"{MASK}"' if self._is_secret or _has_inner_secret(kind, token) else token)
        self._is_secret = False
        self._expected = _NEXT
        return True

    def _close(self, token: str) -> bool:
        opener, ends = ("{", _KEY_OR_END) if token == "}" else ("[", _VALUE_OR_END)
        if self._expected not in (ends, _NEXT) or not self._stack or self._stack.pop() != opener:
            return False
        self._keep(token)
        if len(self._stack) == self._hidden_from:
            self._hidden_from = -1
        self._expected = _NEXT
        return True

    def _go_on(self) -> bool:
        if self._expected != _NEXT or not self._stack:
            return False
        self._keep(",")
        self._expected = _KEY if self._stack[-1] == "{" else _VALUE
        return True


def _has_inner_secret(kind: str, token: str) -> bool:
    """Whether a text has JSON, a form or a query in it that names a secret."""
    if kind != "text" or not (_may_have_secret(token) or "\\u" in token):
        return False
    try:
        inner: str = json.loads(token)
    except ValueError:
        return True
    return mask_text(inner) != inner


_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^\s;,]+))', re.IGNORECASE)
_PART_NAME = re.compile(r';\s*name\*?=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_PART_TYPE = re.compile(r"^content-type:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_FILE_NAME = re.compile(r";\s*filename\*?=", re.IGNORECASE)


def mask_multipart(text: str, content_type: str) -> str:
    """Parts of a form (RFC 7578); what is not between its boundaries is dropped."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        return ""
    delimiter = f"\r\n--{match[1] or match[2]}"
    before, *parts = f"\r\n{text}".split(delimiter)
    if before:
        return ""
    kept = []
    for part in parts:
        if part.startswith("--"):
            kept.append("--\r\n")
            break
        masked = _masked_part(part)
        kept.append(masked or "")
        if masked is None:
            break
    return "".join(f"{delimiter}{part}" for part in kept)[2:] if kept else ""


def _masked_part(part: str) -> str | None:
    """One part, behind its delimiter; None if it cannot be read."""
    head, mark, content = part.partition("\r\n\r\n")
    name = _PART_NAME.search(head)
    if not mark or name is None:
        return None
    if is_secret(unquote_plus(name[1] or name[2] or "")):
        return f"{head}{mark}{MASK}"
    kind = _PART_TYPE.search(head)
    is_file = _FILE_NAME.search(head) is not None
    own_type = kind[1] if kind else "application/octet-stream" if is_file else "text/plain"
    if own_type.lower().startswith("multipart/"):
        return None
    return f"{head}{mark}{mask_body(content.encode('latin-1'), own_type).decode('latin-1')}"


# Text of any kind, where something that looks like a name stands before something that looks like
# its value. Looked for from the words on, and a bounded number of characters from there: a pattern
# that began before them would try every place of a long line.
_ASSIGNED = re.compile(
    r"""(?P<name>[\w.\-]{0,64}(?:\\?["'])?\]?\s{0,8}(?::|=>|=)\s{0,8})
    (?P<value>\\?"(?:[^"\\]|\\[^"])*(?:\\?"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z)|[^\r\n,;&<>"']+)""",
    re.VERBOSE | re.DOTALL,
)


def mask_text(text: str) -> str:
    """Text, with what follows the name of a secret and a colon or an equals sign left out."""
    if not _may_have_secret(text):
        return text
    return _masked_behind_words(text, _ASSIGNED)


def _masked_behind_words(text: str, pattern: re.Pattern[str]) -> str:
    kept, position = [], 0
    for word in _WORD.finditer(text):
        if word.start() < position:
            continue
        match = pattern.match(text, word.end())
        if match is not None:
            value = match["value"]
            quote = value[0] if value[:1] in ('"', "'") else ""
            kept += [text[position : match.start("value")], f"{quote}{MASK}{quote}"]
            position = match.end()
    return "".join((*kept, text[position:]))


_TAG = re.compile(r"<(?:input|meta|textarea|param|button|option)\b[^>]*(?:>|\Z)", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"""(\s(?:value|content)\s*=\s*)("[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[^\s>]+)""", re.IGNORECASE
)


def mask_html(text: str) -> str:
    """Pages: the values of fields that are in them already, such as a token against CSRF."""
    if not _may_have_secret(text):
        return text
    return mask_text(_TAG.sub(_masked_tag, text))


def _masked_tag(match: re.Match[str]) -> str:
    tag = match[0]
    return _ATTRIBUTE.sub(rf'\1"{MASK}"', tag) if _may_have_secret(tag) else tag


_ELEMENT = re.compile(r"[\w.\-]{0,64}(?:\s[^<>]{0,1000})?>(?P<value>[^<]+)")


def mask_xml(text: str) -> str:
    """XML: elements and attributes."""
    if not _may_have_secret(text):
        return text
    return mask_text(_masked_behind_words(text, _ELEMENT))
