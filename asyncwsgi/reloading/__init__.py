"""The reloader of the command line: new code takes over from old without a closed door between."""
