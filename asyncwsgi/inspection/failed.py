"""A request to the inspector's site that cannot be answered as it was meant."""

from __future__ import annotations

Headers = tuple[tuple[str, str], ...]


class Failed(Exception):
    """Its text is for the user: what has happened, what was expected, the cure.

    Args:
        status: of the answer.
        error: the text.
        headers: more of the answer's.
    """

    def __init__(self, status: int, error: str, headers: Headers = ()) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers
