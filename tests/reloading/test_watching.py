"""Which changes ``--reload`` takes for changes of the code, and how it hears of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncwsgi.reloading.sources import Sources, source_roots
from tests.reloading.conftest import Project

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


class TestExtraFiles:
    def test_a_change_of_one_reloads(self, project: Project, backend: dict[str, str]) -> None:
        project.write("site.toml", "a = 1")
        project.serve("--extra-files", "site.toml", environment=backend)
        project.process.read_until("changes")
        project.write("site.toml", "a = 2")
        project.process.read_until("reloading: site.toml changed")
        project.wait_until_taken_over()

    def test_one_that_is_elsewhere_and_not_there_yet_reloads_when_it_comes(
        self, project: Project, tmp_path: Path, backend: dict[str, str]
    ) -> None:
        (tmp_path / "etc").mkdir()
        extra = tmp_path / "etc" / "site.toml"
        project.serve("--extra-files", str(extra), environment=backend)
        project.process.read_until("changes")
        for content in ("a = 1", "a = 22"):
            extra.write_text(content)
            project.process.read_until("site.toml changed")
            project.wait_until_taken_over()

    def test_a_directory_stands_for_every_file_in_it(
        self, project: Project, tmp_path: Path, backend: dict[str, str]
    ) -> None:
        (tmp_path / "data").mkdir()
        paths = os.pathsep.join([str(tmp_path / "data"), "other.toml"])
        project.serve("--extra-files", paths, environment=backend)
        project.process.read_until("changes")
        (tmp_path / "data" / "table.csv").write_text("a,b")
        project.process.read_until("table.csv changed")
        project.wait_until_taken_over()
        project.write("other.toml", "")
        project.process.read_until("other.toml changed")


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
        project.serve("--exclude-patterns", "*/generated/*", environment=backend)
        project.process.read_until("changes")
        project.reload("two")  # by now it does hear of changes
        project.write(path, "a = 22")
        # They are heard of in their order, or the first of them by name: it would be that one.
        project.reload("zwei")
        assert project.process.log.count("reloading: ") == 2


class TestSources:
    @pytest.fixture
    def sources(self, tmp_path: Path) -> Sources:
        extra = [str(tmp_path / "extra.toml"), str(tmp_path / "data")]
        sources = Sources(extra, ["*/excluded*"])
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
            ("excluded.py", False),
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
        assert sources.add_roots([root]) == []  # what watches the one above sees it, too
        assert sources.counts(f"{root}/module.py")

    def test_of_roots_only_the_outermost_are_to_be_watched(self) -> None:
        sources = Sources()
        assert sources.add_roots(["/a/b", "/a", "/a/c/d", "/ab", "/a"]) == ["/a", "/ab"]
        assert sources.add_roots(["/a/e", "/c"]) == ["/c"]

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
        assert str(Path(__file__).parent.resolve()) in source_roots()

    def test_what_is_installed_is_none_of_them(self) -> None:
        package = Path(pytest.__file__).parent.resolve()
        assert not {str(package), str(package.parent)} & set(source_roots())
