"""``python -m asyncwsgi``: the command line."""

from asyncwsgi.cli import main

if __name__ == "__main__":
    main()
