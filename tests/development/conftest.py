"""Pages of a project that is edited are looked at in a browser."""

from __future__ import annotations

from tests.reloading.conftest import project
from tests.serving.browser.conftest import browser

__all__ = ["browser", "project"]
