"""A pytest plugin: what Flask's tests import as `run_command` is the command `flask arun`."""

from __future__ import annotations

import flask.cli

from asyncwsgi.flask import arun

flask.cli.run_command = arun
