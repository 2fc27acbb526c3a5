"""Has the frameworks read their templates again.

Their own servers do so for development, or start anew. Here a template that has changed starts no
process, and some frameworks keep what they have read: Flask and Jinja unless they are told to look
(``TEMPLATES_AUTO_RELOAD``, which Flask turns on for debugging), Django since 4.1 unless its own
reloader tells it.
"""

from __future__ import annotations

import gc
import sys


def forget_templates() -> None:
    """Empty the caches of templates, of the frameworks that were imported."""
    _forget_jinja()
    _forget_django()


def _forget_jinja() -> None:
    module = sys.modules.get("jinja2")
    if module is None:
        return
    # Nobody knows where an application has its environments, but they are objects of this class.
    for found in gc.get_objects():
        # By type(): isinstance() would ask proxies, which may have no object to ask.
        if issubclass(type(found), module.Environment) and found.cache is not None:
            found.cache.clear()


def _forget_django() -> None:
    if "django.template" in sys.modules:
        from django.apps import apps  # type: ignore[import-untyped]
        from django.template.autoreload import reset_loaders  # type: ignore[import-untyped]

        if apps.ready:  # else nobody has read a template
            reset_loaders()
