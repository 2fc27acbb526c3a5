"""asyncwsgi as a worker of gunicorn: ``gunicorn -k asyncwsgi.gunicorn.Worker module:app``.

gunicorn is the process manager: it owns the listeners, forks workers, watches and replaces them.
Needs gunicorn (the extra ``gunicorn``).
"""

from __future__ import annotations

try:
    import gunicorn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "gunicorn":
        raise
    raise ModuleNotFoundError(
        "asyncwsgi.gunicorn is a worker of gunicorn, and gunicorn is not installed; install it: "
        "pip install gunicorn (the extra `gunicorn` does)",
        name=error.name,
    ) from None

from asyncwsgi.gunicorn.worker import Worker

__all__ = ["Worker"]
