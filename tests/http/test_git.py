"""Real git pushes to dulwich: chunked bodies of tens of megabytes, which dulwich takes decoded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

from asyncwsgi import serving
from asyncwsgi.testing import LiveServer
from tests.client import TIMEOUT
from tests.http.helpers import MIB, Environ
from tests.serving.conftest import Running

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

PUSHED_SIZE = 30 * MIB


class Git:
    """The command, with no configuration but what a call says."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **{f"GIT_{who}_NAME": "a" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "a@b.invalid" for who in ("AUTHOR", "COMMITTER")},
        }

    def __call__(self, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path)


class Site:
    """dulwich's application for one repository, and the requests that it was called with."""

    def __init__(self, repository: Repo) -> None:
        repositories: dict[bytes, Any] = {b"/": repository}
        self._chain: Any = make_wsgi_chain(DictBackend(repositories))
        self.pushes: list[Environ] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/git-receive-pack":
            self.pushes.append(dict(environ))
        blocks: Iterable[bytes] = self._chain(environ, start_response)
        return blocks


@pytest.fixture
def bare(tmp_path: Path, git: Git) -> Path:
    """A repository with one commit, to which anyone may push."""
    git("init", "--quiet", "--bare", "--initial-branch=main", "bare")
    git("config", "http.receivepack", "true", cwd=tmp_path / "bare")
    git("init", "--quiet", "--initial-branch=main", "first")
    git("commit", "--quiet", "--allow-empty", "-m", "first", cwd=tmp_path / "first")
    git("push", "--quiet", str(tmp_path / "bare"), "main", cwd=tmp_path / "first")
    return tmp_path / "bare"


@pytest.fixture
def site(bare: Path) -> Iterator[Site]:
    with closing(Repo(str(bare))) as repository:
        yield Site(repository)


@pytest.fixture(params=["asyncwsgi", "asyncwsgi.serving"])
def url(request: pytest.FixtureRequest, site: Site) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "asyncwsgi":
            yield stack.enter_context(LiveServer(site, graceful_timeout=TIMEOUT)).url
        else:
            running = Running(serving.make_server("127.0.0.1", 0, site, threaded=True))
            stack.callback(running.close)
            yield f"http://127.0.0.1:{running.server.port}"


@pytest.mark.parametrize("expects", [False, True], ids=["at once", "100-continue"])
def test_git_clones_and_pushes(
    git: Git, bare: Path, site: Site, url: str, tmp_path: Path, expects: bool
) -> None:
    git("clone", "--quiet", url, "clone")
    clone = tmp_path / "clone"
    git("config", "core.compression", "0", cwd=clone)
    (clone / "large").write_bytes(os.urandom(PUSHED_SIZE))
    git("add", "large", cwd=clone)
    git("commit", "--quiet", "-m", "large", cwd=clone)
    header = ["-c", "http.extraHeader=Expect: 100-continue"] if expects else []
    git(*header, "push", "--quiet", "origin", "main", cwd=clone)

    git("fsck", "--full", cwd=bare)
    assert git("rev-parse", "main", cwd=bare) == git("rev-parse", "main", cwd=clone)
    push = site.pushes[-1]  # git asks with a small request first
    assert push["wsgi.input_terminated"]  # it was chunked
    assert int(push["CONTENT_LENGTH"]) > PUSHED_SIZE
    assert push.get("HTTP_EXPECT") == ("100-continue" if expects else None)
