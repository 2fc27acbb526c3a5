"""Examples with a page are opened in a browser."""

from __future__ import annotations

from tests.serving.browser.conftest import browser

__all__ = ["browser"]
