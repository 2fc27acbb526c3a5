"""Which paths a glob pattern means."""

from __future__ import annotations

import pytest

from asyncwsgi import ConfigError
from asyncwsgi.reloading.patterns import Pattern, Patterns

PROJECT = "/srv/project"


@pytest.mark.parametrize(
    ("text", "path", "is_meant"),
    [
        pytest.param("*.toml", "site.toml", True, id="a name"),
        pytest.param("*.toml", "conf/site.toml", True, id="a name below"),
        pytest.param("*.toml", "site.toml.bak", False, id="more than a name"),
        pytest.param("*.toml", "site.toml/module.py", True, id="what is in a directory"),
        pytest.param("site.[!a-c]*", "site.cfg", False, id="none of some characters"),
        pytest.param("site.[!a-c]*", "site.toml", True, id="another than some characters"),
        pytest.param("[]]?[\\^]", "]a^", True, id="characters with a meaning in brackets"),
        pytest.param("a[", "a[", True, id="a bracket that is not closed"),
        pytest.param("templates/**", "templates/a/b.html", True, id="all below"),
        pytest.param("templates/**", "shop/templates/a.html", True, id="all below, anywhere"),
        pytest.param("templates/**", "templates", False, id="not the directory itself"),
        pytest.param("a/**/b", "a/b", True, id="no directory between"),
        pytest.param("a/**/b", "a/x/y/b", True, id="directories between"),
        pytest.param("a/*/b", "a/x/y/b", False, id="one directory between"),
        pytest.param("*/migrations/*", "shop/migrations/0001.py", True, id="a directory of many"),
        pytest.param("*/migrations/*", "migrations/0001.py", True, id="the project's own"),
        pytest.param("*/migrations/*", "migrations/sub/0001.py", True, id="and deeper"),
        pytest.param("build/", "build/lib/module.py", True, id="a slash at the end"),
        pytest.param("project", "module.py", False, id="the name of the project"),
        pytest.param("srv/**", "module.py", False, id="a directory above, not anchored"),
        pytest.param("./conf/*.yml", "conf/site.yml", True, id="anchored"),
        pytest.param("./conf/*.yml", "shop/conf/site.yml", False, id="anchored, and elsewhere"),
        pytest.param("./conf", "conf/a/site.yml", True, id="an anchored directory"),
        pytest.param("../*/conf", "conf/site.yml", True, id="anchored above"),
        pytest.param("/srv/project/conf", "conf", True, id="a whole path"),
        pytest.param("/srv", "conf", True, id="a directory above"),
        pytest.param("/srv/other", "conf", False, id="another whole path"),
        pytest.param(".", "conf", True, id="the working directory"),
    ],
)
def test_what_is_meant(text: str, path: str, is_meant: bool) -> None:
    assert Pattern(text, PROJECT).matches(f"{PROJECT}/{path}", PROJECT) is is_meant


def test_what_is_meant_below_the_root_of_all() -> None:
    assert Pattern("*.py", "/").matches("/srv/web.py", "/")
    assert Pattern("./srv", "/").matches("/srv/web.py", "/")


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("*.toml", ""),
        ("conf/site.toml", ""),
        ("./conf/site.toml", "/srv/project/conf/site.toml"),
        ("../conf/*/site.toml", "/srv/conf"),
        ("/etc/site.[ct]*", "/etc"),
        ("/*.toml", "/"),
    ],
)
def test_where_an_anchored_one_means_something(text: str, base: str) -> None:
    patterns = Patterns([text], PROJECT)
    assert patterns.bases == ([base] if base else [])
    assert patterns.has_free is not bool(base)


def test_one_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'\[z-a\]' is no pattern of paths: bad character range"):
        Patterns(["[z-a]"], PROJECT)
