"""How these tests know who serves: Werkzeug's server closes each connection, asyncwsgi keeps it."""

from __future__ import annotations

from http.client import HTTPConnection


def get_on_one_connection(host: str, port: int, *targets: str) -> list[bytes]:
    """The bodies at `targets`, asked for one after the other on a single connection."""
    connection = HTTPConnection(host, port, timeout=30)
    connection.connect()
    connection.auto_open = 0  # a connection that was closed is not opened again, but an error
    bodies = []
    try:
        for target in targets:
            connection.request("GET", target)
            response = connection.getresponse()
            bodies.append(response.read())
            assert response.status == 200, bodies[-1]
    finally:
        connection.close()
    return bodies
