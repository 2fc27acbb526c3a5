"""Which changes ``--reload`` takes for changes of the code, and how it hears of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path

import pytest

from asyncwsgi.reloading.imports import SourceRoots
from asyncwsgi.reloading.kernel_watch import Watchfiles
from asyncwsgi.reloading.links import Way, follow
from asyncwsgi.reloading.sources import Places, Sources
from asyncwsgi.reloading.versions import Stamp
from asyncwsgi.reloading.watching import Watcher
from tests.client import TIMEOUT
from tests.doors.processes import address_of
from tests.reloading.conftest import APP, Project

Without = Callable[[str], dict[str, str]]


@pytest.fixture(params=["watchfiles", "polling"])
def backend(request: pytest.FixtureRequest, without: Without) -> dict[str, str]:
    """The environment in which a process hears of changes in one way or the other."""
    return {} if request.param == "watchfiles" else without("watchfiles")


class TestHow:
    def test_with_watchfiles_the_log_says_so(self, project: Project) -> None:
        project.serve()
        project.process.read_until("watching for changes with watchfiles")

    def test_without_it_the_log_names_the_cure_and_it_works(
        self, project: Project, without: Without
    ) -> None:
        project.serve(environment=without("watchfiles"))
        assert "install watchfiles" in project.process.read_until("once a second")
        for version in ("two", "three"):
            project.reload(version)
            assert project.answers(version)


@pytest.mark.parametrize("name", ["WEB.PY", "my.web.py"])
def test_an_application_of_any_file_name_reloads(
    project: Project, backend: dict[str, str], name: str
) -> None:
    project.write(name, "def app(environ, start_response): pass")
    project.start("--reload", app=name, environment=backend)
    project.wait_until_watched()
    project.write(name, "def app(environ, start_response): return None")
    project.process.read_until(f"reloading: {name} changed")
    project.wait_until_taken_over()


HOOK = """
import importlib.machinery
import importlib.util
import sys


class Editable(importlib.machinery.PathFinder):
    # As those by which setuptools installs a project in place.
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "helper":
            return importlib.util.spec_from_file_location(name, {file!r})


sys.meta_path.append(Editable)


def app(environ, start_response):
    import helper
    start_response("200 OK", [])
    return [helper.version.encode()]
"""


def test_a_module_that_a_view_imports_from_elsewhere_counts(
    project: Project, tmp_path: Path, backend: dict[str, str]
) -> None:
    helper = tmp_path / "library" / "helper.py"
    helper.parent.mkdir()
    helper.write_text("version = 'one'")
    project.write("web.py", HOOK.format(file=str(helper)))
    project.start("--reload", environment=backend)
    project.address = address_of(project.process.urls()[0])
    project.wait_until_watched()
    for version in ("one", "two"):  # each process imports it anew
        assert project.answers(version)
        helper.write_text(f"version = {'two' if version == 'one' else 'three'!r}")
        project.process.read_until("helper.py changed")
        project.wait_until_taken_over()


def test_a_package_behind_a_link_that_is_pointed_elsewhere_reloads(
    project: Project, backend: dict[str, str]
) -> None:
    for release in ("1", "2", "3"):
        project.write(f"releases/{release}/__init__.py", APP.format(version=release))
    point(project.directory / "web", "releases/1")
    project.start("--reload", environment=backend)
    project.address = address_of(project.process.urls()[0])
    project.wait_until_watched()
    project.write("other.py", "")
    project.wait_until_taken_over()  # by now it knows what there is
    for release in ("2", "3", "1"):
        point(project.directory / "web", f"releases/{release}")
        project.process.read_until("reloading: web/__init__.py changed")
        project.wait_until_taken_over()
        assert project.answers(release)


class TestIncludedFiles:
    def test_a_change_of_one_reloads(self, project: Project, backend: dict[str, str]) -> None:
        project.write("conf/site.toml", "a = 1")
        project.serve("--reload-include", "*.toml", environment=backend)
        project.wait_until_watched()
        project.write("conf/site.toml", "a = 2")
        project.process.read_until("reloading: conf/site.toml changed")
        project.wait_until_taken_over()

    def test_one_that_is_elsewhere_and_not_there_yet_reloads_when_it_comes(
        self, project: Project, tmp_path: Path, backend: dict[str, str]
    ) -> None:
        (tmp_path / "etc").mkdir()
        extra = tmp_path / "etc" / "site.toml"
        project.serve("--reload-include", str(extra), environment=backend)
        project.process.read_until(f"--reload-include {extra} matches nothing")
        for content in ("a = 1", "a = 22"):
            extra.write_text(content)
            project.process.read_until("site.toml changed")
            project.wait_until_taken_over()

    def test_a_directory_stands_for_every_file_in_it(
        self, project: Project, tmp_path: Path, backend: dict[str, str]
    ) -> None:
        (tmp_path / "data").mkdir()
        paths = os.pathsep.join(["../data", "./other.toml"])
        project.serve("--reload-include", paths, environment=backend)
        project.wait_until_watched()
        (tmp_path / "data" / "table.csv").write_text("a,b")
        project.process.read_until("table.csv changed")
        project.wait_until_taken_over()
        project.write("other.toml", "")
        project.process.read_until("other.toml changed")


class TestDirectories:
    def test_those_that_are_named_take_the_place_of_those_imported_from(
        self, project: Project, tmp_path: Path, backend: dict[str, str]
    ) -> None:
        other = tmp_path / "other"
        other.mkdir()
        project.serve("--reload-dir", "package", "--reload-dir", str(other), environment=backend)
        # There is no package yet, which is what is said; by now all is watched, besides.
        project.process.read_until("--reload-dir package is no directory; what is made later")
        project.write_version("two")
        (other / "module.py").write_text("")
        assert "module.py changed" in project.process.read_until("reloading: ")
        project.wait_until_taken_over()
        project.write("package/module.py", "")
        assert "package/module.py changed" in project.process.read_until("reloading: ")


def test_what_matches_nothing_is_said_in_one_line(project: Project) -> None:
    project.write("migrations/first.py", "")
    project.write("templates/page.html", "")
    project.serve(
        *("--reload-include", "templates/**", "--reload-include", "*.tmol"),
        *("--reload-exclude", "*/migrations/*", "--reload-exclude", "/build"),
        *("--reload-dir", "."),
    )
    line = project.process.read_until(" matches nothing")
    assert line.endswith(
        "--reload-include *.tmol matches nothing, --reload-exclude /build matches nothing; what is "
        "made later counts nevertheless"
    )


def test_the_names_from_before_work_and_the_log_says_what_to_write(project: Project) -> None:
    project.write("site.toml", "a = 1")
    project.write("generated/models.py", "")
    project.serve("--extra-files", "site.toml", "--exclude-patterns", "*/generated/*")
    log = project.process.log
    assert "write --reload-include ./site.toml\n" in log
    assert "write --reload-exclude '*/generated/*'\n" in log
    project.wait_until_watched()
    project.write("generated/models.py", "a = 2")
    project.write("site.toml", "a = 2")
    assert "site.toml changed" in project.process.read_until("reloading: ")


class TestWhatDoesNotCount:
    """Of several changes the log names the one that comes first by name."""

    @pytest.mark.parametrize(
        "path",
        [
            pytest.param("generated/models.py", id="what a pattern excludes"),
            pytest.param("notes.txt", id="a file that is no Python"),
            pytest.param("__pycache__/web.py", id="a cache"),
            pytest.param(".git/hooks.py", id="the repository"),
            pytest.param("node_modules/gyp.py", id="other packages"),
            pytest.param("env/lib/x.py", id="a virtual environment"),
        ],
    )
    def test_does_not_reload(self, project: Project, path: str, backend: dict[str, str]) -> None:
        project.write("env/pyvenv.cfg", "home = /usr")
        project.write(path, "a = 1")
        project.serve("--reload-exclude", "generated", environment=backend)
        project.wait_until_watched()
        project.reload("two")  # by now it does hear of changes
        project.write(path, "a = 22")
        # They are heard of in their order, or the first of them by name: it would be that one.
        project.reload("zwei")
        assert project.process.log.count("reloading: ") == 2


with_watchfiles = pytest.mark.parametrize("in_process", ["watchfiles"], indirect=True)


@pytest.fixture(params=["watchfiles", "polling"])
def in_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How a watcher in this process hears of changes."""
    monkeypatch.setattr("asyncwsgi.reloading.watching.RETRY_INTERVAL", 0)
    if request.param == "polling":
        monkeypatch.setitem(sys.modules, "asyncwsgi.reloading.kernel_watch", None)
        monkeypatch.setattr("asyncwsgi.reloading.notifiers.POLL_INTERVAL", 0)
    else:  # what the kernel does not tell is not found by chance
        monkeypatch.setattr("asyncwsgi.reloading.kernel_watch.IDLE_TIMEOUT", 1000)


@pytest.fixture
async def watched(tmp_path: Path, in_process: None) -> AsyncIterator[Watched]:
    # What is skipped has the kernel watch the directory on its own.
    (tmp_path / "project" / "node_modules").mkdir(parents=True)
    (tmp_path / "project" / "package").mkdir()
    watched = Watched(tmp_path / "project")
    yield watched
    watched.watcher.close()


class TestWatcher:
    async def test_every_change_is_told_once(self, watched: Watched) -> None:
        for name in ("package/module.py", "module.py", "package/module.py", "node_modules/a.py"):
            watched.write(name)
            if "node" not in name:
                assert await watched.next() == name
        watched.write("last.py")
        assert await watched.next() == "last.py"

    async def test_so_is_one_in_a_directory_that_is_new(self, watched: Watched) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        for name in ("new/__init__.py", "new/newer/__init__.py", "package/new/__init__.py"):
            watched.write(name)
            assert await watched.next() == name
        # An old one is not told again when the watch is set up for a new directory.
        for name in ("module.py", "new/newer/__init__.py", "newest/__init__.py"):
            watched.write(name)
            assert await watched.next() == name

    async def test_a_directory_that_is_moved_to_the_project_brings_its_files(
        self, watched: Watched
    ) -> None:
        old = watched.write("../elsewhere/__init__.py")
        os.utime(old, (0, 0))
        watched.write("module.py")
        assert await watched.next() == "module.py"
        old.parent.rename(watched.project / "new")
        assert await watched.next() == "new/__init__.py"

    async def test_a_file_that_is_removed_has_changed(self, watched: Watched) -> None:
        path = watched.write("module.py")
        assert await watched.next() == "module.py"
        path.unlink()
        assert await watched.next() == "module.py"

    async def test_a_file_has_changed_if_its_contents_have(self, watched: Watched) -> None:
        path = watched.write("module.py")
        assert await watched.next() == "module.py"
        os.utime(path)  # a touch
        await watched.watcher.look()
        contents = path.read_bytes()
        path.write_bytes(contents)
        await watched.watcher.look()
        path.unlink()
        assert await watched.next() == "module.py"
        path.write_bytes(contents)  # when it comes back, it has
        assert await watched.next() == "module.py"
        watched.write("last.py")
        assert await watched.next() == "last.py"

    async def test_what_cannot_be_read_has_changed_if_it_was_written(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = watched.write("module.py")
        assert await watched.next() == "module.py"
        monkeypatch.setattr("asyncwsgi.reloading.versions.LARGEST_SIZE", 0)
        for _ in range(2):
            os.utime(path, (0, 0))
            assert await watched.next() == "module.py"
            os.utime(path)
            assert await watched.next() == "module.py"

    async def test_a_root_may_be_added_and_what_has_changed_in_it_since_is_told(
        self, watched: Watched, tmp_path: Path
    ) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        root = tmp_path / "other"
        old = watched.write("../other/a.py")
        os.utime(old, (0, 0))
        watched.write("../other/changed.py")
        watched.watcher.watch([str(root)], since=1.0)
        assert await watched.next() == "../other/changed.py"
        watched.write("../other/a.py")
        assert await watched.next() == "../other/a.py"
        watched.write("package/module.py")
        assert await watched.next() == "package/module.py"

    async def test_a_root_that_is_added_during_a_look_is_not_new_as_a_whole(
        self, watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        os.utime(watched.write("../other/a.py"), (0, 0))
        has_looked, may_end = asyncio.Event(), threading.Event()
        stamps = watched.sources.stamps

        def look() -> dict[str, Stamp]:
            monkeypatch.setattr(watched.sources, "stamps", stamps)
            found = stamps()
            watched.loop.call_soon_threadsafe(has_looked.set)
            may_end.wait(TIMEOUT)
            return found

        monkeypatch.setattr(watched.sources, "stamps", look)
        looking = asyncio.create_task(watched.watcher.look())
        await has_looked.wait()
        watched.watcher.watch([str(tmp_path / "other")], since=1.0)
        may_end.set()
        await looking
        watched.write("module.py")
        assert await watched.next() == "module.py"

    @with_watchfiles
    async def test_a_directory_that_comes_while_the_watch_is_set_up_is_watched(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        places = watched.sources.places

        def look_too_early() -> Places:
            monkeypatch.setattr(watched.sources, "places", places)
            (watched.project / "late").mkdir()
            others = [str(watched.project), str(watched.project / "new")]
            return Places([], others, frozenset(), {})

        monkeypatch.setattr(watched.sources, "places", look_too_early)
        for name in ("new/module.py", "module.py", "package/module.py", "late/module.py"):
            watched.write(name)
            assert await watched.next() == name

    @with_watchfiles
    async def test_the_watch_is_set_up_anew_for_new_directories_alone(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        walk, walks = watched.sources.places, 0

        def count() -> Places:
            nonlocal walks
            walks += 1
            return walk()

        monkeypatch.setattr(watched.sources, "places", count)
        # The kernel is asked to watch what comes in a directory with which nothing is skipped.
        for name in ("new/1.py", "module.py", *(f"package/{n}/module.py" for n in range(8))):
            watched.write(name)
            assert await watched.next() == name
        # Two each time: what is to be watched, and whether it was all.
        assert walks < 6

    @with_watchfiles
    async def test_a_directory_that_vanishes_before_it_is_watched_is_no_failure(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        places = watched.sources.places
        gone = Places([str(watched.project / "gone")], [], frozenset(), {})
        gone_is_watched = asyncio.Event()

        def look_again() -> Places:
            watched.loop.call_soon_threadsafe(gone_is_watched.set)
            monkeypatch.setattr(watched.sources, "places", places)
            return gone

        monkeypatch.setattr(watched.sources, "places", look_again)
        watched.watcher.watch([str(watched.project.parent)], since=0)
        await gone_is_watched.wait()
        watched.write("new/module.py")
        assert await watched.next() == "new/module.py"
        assert "watchfiles failed" not in caplog.text

    @with_watchfiles
    async def test_where_the_kernel_refuses_it_looks_once_a_second(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: object, **__: object) -> object:
            raise OSError("the limit of watches is reached")

        monkeypatch.setattr("asyncwsgi.reloading.kernel_watch.awatch", refuse)
        monkeypatch.setattr("asyncwsgi.reloading.notifiers.POLL_INTERVAL", 0)
        for name in ("module.py", "new/module.py", "module.py"):
            watched.write(name)
            assert await watched.next() == name
        assert caplog.text.count("watchfiles failed (the limit of watches is reached)") == 1


class TestWhatFails:
    """Whatever ends the watch is in the log, and the watch goes on; no change is lost by it."""

    @pytest.mark.parametrize("top", [".", ".."], ids=["the project", "the directory it is in"])
    async def test_a_project_that_is_deleted_and_comes_back_is_watched_on(
        self, watched: Watched, top: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        shutil.rmtree((watched.project / top).resolve())
        assert await watched.next() == "module.py"
        for name in ("module.py", "package/module.py", "module.py"):
            watched.write(name)
            assert await watched.next() == name
        assert "failed" not in caplog.text

    async def test_so_is_a_root_with_which_nothing_is_skipped(
        self, watched: Watched, tmp_path: Path
    ) -> None:
        watched.write("../other/module.py")
        watched.watcher.watch([str(tmp_path / "other")], since=0)
        assert await watched.next() == "../other/module.py"
        shutil.rmtree(tmp_path / "other")
        assert await watched.next() == "../other/module.py"
        for name in ("../other/module.py", "../other/package/module.py", "../other/module.py"):
            watched.write(name)
            assert await watched.next() == name

    async def test_a_change_that_could_not_be_told_is_told_again(
        self, watched: Watched, caplog: pytest.LogCaptureFixture
    ) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        watched.failures.append(LookupError("no name for it"))
        watched.write("package/module.py")
        assert await watched.next() == "package/module.py"
        watched.write("module.py")
        assert await watched.next() == "module.py"
        assert caplog.text.count("LookupError: no name for it") == 1

    async def test_a_look_that_fails_is_had_again(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        stamps = watched.sources.stamps

        def fail(*_: object) -> dict[str, Stamp]:
            monkeypatch.setattr(watched.sources, "stamps", stamps)
            raise PermissionError("not for you")

        monkeypatch.setattr(watched.sources, "stamps", fail)
        for name in ("package/module.py", "module.py"):
            watched.write(name)
            assert await watched.next() == name
        assert caplog.text.count("PermissionError: not for you") == 1

    @with_watchfiles
    async def test_a_panic_of_watchfiles_leaves_polling(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        class PanicException(BaseException):
            """As Rust's panics come: they are no `Exception`."""

        async def panic(*_: object, **__: object) -> AsyncIterator[object]:
            raise PanicException("index out of bounds")
            yield

        monkeypatch.setattr("asyncwsgi.reloading.kernel_watch.awatch", panic)
        monkeypatch.setattr("asyncwsgi.reloading.notifiers.POLL_INTERVAL", 0)
        for name in ("module.py", "new/module.py", "module.py"):
            watched.write(name)
            assert await watched.next() == name
        assert caplog.text.count("watchfiles failed (index out of bounds)") == 1

    async def test_what_the_kernel_does_not_tell_is_looked_for_nevertheless(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def only_others(*_: object, **__: object) -> AsyncIterator[object]:
            await asyncio.Event().wait()  # it filters all that it hears of
            yield set()

        monkeypatch.setattr("asyncwsgi.reloading.kernel_watch.awatch", only_others)
        monkeypatch.setattr("asyncwsgi.reloading.kernel_watch.IDLE_TIMEOUT", 0.1)
        sources = Sources()
        sources.add_roots([str(tmp_path)])
        async with aclosing(Watchfiles(sources).hints()) as hints, asyncio.timeout(TIMEOUT):
            for _ in range(3):  # nothing changes
                await anext(hints)


def point(link: Path, target: str) -> None:
    """Make a link, or have it lead elsewhere, so that it leads somewhere all the time."""
    draft = link.with_name("link.draft")
    draft.symlink_to(target)
    draft.replace(link)


class TestLinks:
    """What is behind a link goes by the name that it has in front of it."""

    async def test_the_target_of_a_module_counts_and_so_does_another(
        self, watched: Watched
    ) -> None:
        watched.write("../elsewhere/one.py")
        watched.write("../elsewhere/two.py")
        point(watched.project / "package" / "module.py", "../../elsewhere/one.py")
        assert await watched.next() == "package/module.py"
        for target in ("one.py", "two.py", "one.py"):
            if (watched.project / "package" / "module.py").readlink().name != target:
                point(watched.project / "package" / "module.py", f"../../elsewhere/{target}")
                assert await watched.next() == "package/module.py"
            watched.write("../elsewhere/three.py")  # nothing else there counts
            watched.write(f"../elsewhere/{target}")
            assert await watched.next() == "package/module.py"
        watched.write("last.py")
        assert await watched.next() == "last.py"

    async def test_an_extra_file_counts_however_often_the_link_on_its_way_is_pointed_elsewhere(
        self, tmp_path: Path, in_process: None
    ) -> None:
        config = tmp_path / "config"

        def update(number: int) -> None:
            """As Kubernetes does it for a ConfigMap (its AtomicWriter)."""
            (config / f"..{number}").mkdir(parents=True)
            (config / f"..{number}" / "site.toml").write_text(f"number = {number}")
            point(config / "..data", f"..{number}")
            if number > 1:
                shutil.rmtree(config / f"..{number - 1}")

        update(1)
        (config / "site.toml").symlink_to("..data/site.toml")
        (tmp_path / "project").mkdir()
        watched = Watched(tmp_path / "project", [str(config / "site.toml")])
        try:
            assert await watched.next() == "../config/site.toml"  # it is new
            for number in (2, 3, 4):
                update(number)
                assert await watched.next() == "../config/site.toml"
        finally:
            watched.watcher.close()

    async def test_a_package_counts_however_often_its_link_is_pointed_elsewhere(
        self, watched: Watched
    ) -> None:
        watched.write("module.py")
        assert await watched.next() == "module.py"
        for release in ("1", "2"):
            watched.write(f"../releases/{release}/module.py")
        point(watched.project / "linked", "../releases/1")
        watched.watcher.watch([str(watched.project / "linked")], since=time.time() + 1000)
        watched.write("module.py")
        assert await watched.next() == "module.py"  # now the link is known
        for release in ("1", "2", "1"):
            if (watched.project / "linked").readlink().name != release:
                point(watched.project / "linked", f"../releases/{release}")
                assert await watched.next() == "linked/module.py"
            watched.write(f"../releases/{release}/module.py")
            assert await watched.next() == "linked/module.py"

    def test_ways_are_followed_as_the_kernel_does_it(self, tmp_path: Path) -> None:
        for name, target in [
            ("data", "1"),
            ("file", "data/../data/file"),
            ("absolute", str(tmp_path / "data")),
            ("loop", "loop"),
        ]:
            (tmp_path / name).symlink_to(target)
        link = {name: str(tmp_path / name) for name in ("data", "file", "absolute")}
        assert follow(str(tmp_path)) == Way(str(tmp_path), str(tmp_path), [])
        assert follow(link["file"])[1:] == (
            str(tmp_path / "1" / "file"), [link["file"], link["data"], link["data"]]
        )  # fmt: skip
        assert follow(link["absolute"])[1:] == (
            str(tmp_path / "1"),
            [link["absolute"], link["data"]],
        )
        assert follow(str(tmp_path / "loop" / "file")).real  # it ends


class Watched:
    """A project, and the files in it that a `Watcher` says have changed."""

    def __init__(self, project: Path, include: Iterable[str] = ()) -> None:
        self.project = project
        self.loop = asyncio.get_running_loop()
        self.sources = Sources(include=include)
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        self.failures: list[Exception] = []
        """What the next that is told a change raises."""
        self.watcher = Watcher(self.sources, self._tell)
        # The clocks of file systems lag behind by some milliseconds.
        self.watcher.watch([str(project)], since=time.time() - 1)
        self._writes = 0

    def write(self, name: str) -> Path:
        """Write a file whole: no watcher sees half of it."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writes += 1
        draft = path.with_name("draft")
        draft.write_text("#" * self._writes)
        return draft.replace(path)

    async def next(self) -> str:
        """Wait for a change; its path below the project."""
        async with asyncio.timeout(TIMEOUT):
            return self._name(await self._changed.get())

    def _tell(self, paths: set[str]) -> None:
        if self.failures:
            raise self.failures.pop()
        self._changed.put_nowait(min(paths))

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self.project)


class TestSources:
    @pytest.fixture
    def sources(self, tmp_path: Path) -> Sources:
        extra = [str(tmp_path / "extra.toml"), str(tmp_path / "data")]
        include = [*extra, "*.yml"]
        sources = Sources(include=include, exclude=["*/excluded*"], directory=str(tmp_path))
        sources.add_roots([str(tmp_path)])
        return sources

    @pytest.mark.parametrize(
        ("path", "counts"),
        [
            ("module.py", True),
            ("package/module.py", True),
            ("module.pyc", False),
            ("module.txt", False),
            ("extra.toml", True),
            ("extra.toml.bak", False),
            ("data/table.csv", True),
            ("data/.git/table.csv", False),
            ("database/table.csv", False),
            ("site.yml", True),
            ("package/site.yml", True),
            ("excluded.py", False),
            ("package/excluded/module.py", False),
            ("data/excluded.csv", False),
            (".tox/py/module.py", False),
        ],
    )
    def test_what_counts(self, sources: Sources, tmp_path: Path, path: str, counts: bool) -> None:
        assert sources.counts(str(tmp_path / path)) is counts

    def test_what_is_beside_the_roots_does_not(self, sources: Sources, tmp_path: Path) -> None:
        assert not sources.counts(f"{tmp_path}2/module.py")

    def test_a_root_counts_though_it_is_in_a_directory_that_is_skipped(
        self, sources: Sources, tmp_path: Path
    ) -> None:
        root = str(tmp_path / ".cache" / "generated")
        assert not sources.counts(f"{root}/module.py")
        assert sources.add_roots([root]) == [root]
        assert sources.counts(f"{root}/module.py")

    def test_of_roots_only_the_outermost_are_new(self) -> None:
        sources = Sources()
        assert sources.add_roots(["/a/b", "/a", "/a/c/d", "/ab", "/a"]) == ["/a", "/ab"]
        assert sources.add_roots(["/a/e", "/c"]) == ["/c"]

    def test_new_directories_matter_where_files_would_count(
        self, sources: Sources, tmp_path: Path
    ) -> None:
        for name in ("package", "data", ".git", ".tox/package"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "file").touch()
        names = ["package", "data", ".git", ".tox/package", "file", "missing", "../elsewhere"]
        assert [name for name in names if sources.has_files_in(str(tmp_path / name))] == names[:2]

    def test_no_directory_is_watched_together_with_one_that_is_skipped(
        self, tmp_path: Path
    ) -> None:
        for name in (
            "env/lib", "src/.git/objects", "src/api/__pycache__", "src/api/v1", "src/links",
            "static/node_modules/x", "static/css", "media/large/x", "media/small", "tests/unit",
            "tests-more",
        ):  # fmt: skip
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "env" / "pyvenv.cfg").touch()
        (tmp_path / "src" / "links" / "link").symlink_to(tmp_path / "env")
        sources = Sources(include=[str(tmp_path / "tests/unit/site.toml")], exclude=["media/large"])
        sources.add_roots([str(tmp_path), str(tmp_path / "env" / "lib")])
        trees, others = (
            {str(Path(path).relative_to(tmp_path)) for path in paths}
            for paths in (sources.places().trees, sources.places().others)
        )
        assert trees == {
            "env/lib", "src/api", "static/css", "media/small", "tests", "tests-more",
        }  # fmt: skip
        assert others == {".", "src", "src/links", "static", "media"}

    @pytest.mark.parametrize("missing", ["site.toml", "etc/site.toml", "file/etc/site.toml"])
    def test_what_is_not_there_is_awaited_in_the_directory_that_is_nearest_to_it(
        self, tmp_path: Path, missing: str
    ) -> None:
        (tmp_path / "file").touch()
        sources = Sources(include=[str(tmp_path / missing)])
        assert sources.places() == Places([], [str(tmp_path)], frozenset(), {})
        (tmp_path / "etc").mkdir()
        assert sources.has_files_in(str(tmp_path / "etc")) is (missing == "etc/site.toml")

    def test_what_cannot_be_looked_at_is_no_failure(self, sources: Sources, tmp_path: Path) -> None:
        # Of a forbidden directory it would be PermissionError, but nothing is forbidden to root.
        unknown = f"{tmp_path}/{'x' * 1000}"
        sources.add_roots([f"{unknown}/root"])
        assert sources.counts(f"{unknown}/module.py")
        assert not sources.has_files_in(unknown)
        assert sources.places() == Places([str(tmp_path)], [], frozenset(), {})
        assert sources.stamps() == {}

    def test_stamps_are_of_the_files_that_count(self, sources: Sources, tmp_path: Path) -> None:
        for name in ("module.py", "module.txt", "data/table.csv", ".git/hook.py", "extra.toml"):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("")
        found = {str(Path(path).relative_to(tmp_path)) for path in sources.stamps()}
        assert found == {"module.py", "data/table.csv", "extra.toml"}


class TestRoots:
    def test_they_are_where_this_process_imports_from(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(Path(__file__).parent))
        assert str(Path(__file__).parent.resolve()) in SourceRoots().new()

    def test_what_is_installed_is_none_of_them(self) -> None:
        package = Path(pytest.__file__).parent.resolve()
        assert not {str(package), str(package.parent)} & set(SourceRoots().new())

    def test_later_calls_tell_those_that_have_come_since(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        roots = SourceRoots()
        monkeypatch.syspath_prepend(str(tmp_path / "later"))
        assert roots.new()
        assert roots.new() == []
        (tmp_path / "later").mkdir()
        (tmp_path / "link").symlink_to("later")
        monkeypatch.syspath_prepend(str(tmp_path / "link"))
        assert roots.new() == [str(tmp_path / "later"), str(tmp_path / "link")]
