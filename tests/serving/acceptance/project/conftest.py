"""What the user of a plug-in writes to be served by asyncwsgi."""

from __future__ import annotations

import multiprocessing

import asyncwsgi.serving

asyncwsgi.serving.install()

# pytest-flask and Flask-Testing give a process a function within a function, which only a fork can
# take along. Python 3.14 no longer forks unless told to.
multiprocessing.set_start_method("fork")
