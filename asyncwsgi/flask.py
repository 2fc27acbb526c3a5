"""The ``flask`` command on this server.

``python -m asyncwsgi.flask run`` is ``flask run`` with another loop below it; ``flask arun`` is the
same as a command of its own, found by its entry point. Needs Flask (the extra ``flask``). Neither
changes what ``flask run`` does.
"""

from __future__ import annotations

from typing import Any

import click

try:
    from flask.cli import main as flask_main
    from flask.cli import run_command
except ModuleNotFoundError as error:
    if error.name != "flask":
        raise
    raise ModuleNotFoundError(
        "asyncwsgi.flask is the command of Flask on another loop, and Flask is not installed; "
        "install it: pip install flask (the extra `flask` does)",
        name=error.name,
    ) from None

from asyncwsgi.standard_streams import hold_standard_descriptors


def _run(**options: Any) -> Any:
    from asyncwsgi.serving import install

    hold_standard_descriptors()
    install()
    assert run_command.callback is not None
    return run_command.callback(**options)


arun = click.Command(
    "arun",
    params=run_command.params,
    callback=_run,
    short_help="Run a development server on an asyncio loop.",
    help=f"{run_command.help}\n\nThis is the run command on asyncwsgi's loop.",
    # The variables are those of flask run: FLASK_RUN_PORT, not FLASK_ARUN_PORT.
    context_settings={"auto_envvar_prefix": "FLASK_RUN"},
)


def main() -> None:
    """Run the ``flask`` command with this package's servers below it."""
    from asyncwsgi.serving import install

    hold_standard_descriptors()
    install()
    flask_main()


if __name__ == "__main__":
    main()
