"""How a browser has an editor open a line of a file: by a link of the editor's own scheme."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from urllib.parse import quote

from asyncwsgi.errors import ConfigError

_IDEA = "{scheme}://open?file={{path}}&line={{line}}"
_OPEN_URL = "{scheme}://open?url=file://{{path}}&line={{line}}"
_VSCODE = "{scheme}://file/{{path}}:{{line}}"
# Who defines them: code.visualstudio.com/docs/editor/command-line, macromates.com/blog/2007,
# and the documentation of each editor; its command, its scheme, the form of its links.
_FORMS = (
    (_VSCODE, {"code": "vscode", "code-insiders": "vscode-insiders", "vscode": "vscode"}),
    (_VSCODE, {"codium": "vscodium", "cursor": "cursor", "windsurf": "windsurf", "zed": "zed"}),
    (_IDEA, {"idea": "idea", "pycharm": "pycharm", "charm": "pycharm"}),
    (_OPEN_URL, {"subl": "subl", "sublime": "subl", "mate": "txmt", "txmt": "txmt"}),
    (_OPEN_URL, {"mvim": "mvim", "emacs": "emacs", "emacsclient": "emacs"}),
)
EDITORS = {
    name: form.format(scheme=scheme) for form, names in _FORMS for name, scheme in names.items()
}
"""The links of editors, by the names of their commands."""
NO_EDITOR = "none"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def editor_template(given: str, environ: Mapping[str, str]) -> str:
    """The link to a line of a file, with ``{path}`` and ``{line}`` in it; empty for none.

    Args:
        given: the name of an editor, or such a link; empty leaves it to the variables `VISUAL` and
            `EDITOR`, which may also name an editor that has no links.
        environ: where these are.

    Raises:
        ConfigError: `given` is neither.
    """
    if given == NO_EDITOR:
        return ""
    if not given:
        return _of_variables(environ)
    if "{path}" in given and _SCHEME.match(given):
        return given
    try:
        return EDITORS[given.lower()]
    except KeyError:
        known = ", ".join((*EDITORS, NO_EDITOR))
        raise ConfigError(
            f"editor must be one of {known}, or a link with {{path}} and {{line}} such as "
            f"{EDITORS['code']!r}, got {given!r}"
        ) from None


def place_link(template: str, path: str, line: int) -> str:
    """The link by which the editor opens line `line` of the file at `path`; empty for none."""
    # An absolute path alone: what is none is no file (<string>).
    if not template or not PurePath(path).is_absolute():
        return ""
    return template.replace("{path}", quote(path)).replace("{line}", str(line))


def _of_variables(environ: Mapping[str, str]) -> str:
    for name in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(environ.get(name, ""))
        except ValueError:  # a quotation that does not end
            continue
        if words:
            command = PurePath(words[0]).name.lower().removesuffix(".exe")
            return EDITORS.get(command, "")
    return ""
