"""A proxy: an async view asks another server, through one client that all requests share.

Run it with

    asyncwsgi --lifespan examples/async_proxy.py:upstream examples/async_proxy.py:app

and try

    curl http://127.0.0.1:8000/

which answers with what UPSTREAM (an environment variable; https://example.org if it is not set) has
at the same path. It needs `pip install "flask[async]" httpx`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import httpx
from flask import Flask, Response, request

# RFC 9110 7.6.1: these speak of one connection, not of the message. And httpx has decoded the body,
# so that its old coding and length are no longer true.
NOT_PASSED_ON = {
    "connection", "content-encoding", "content-length", "keep-alive", "proxy-authenticate",
    "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip

app = Flask(__name__)


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[None]:
    """The lifespan: entered before the first request is served, left after the last one.

    An httpx.AsyncClient keeps connections open, and belongs to the event loop that opened them.
    Here that is the server's loop, on which async views run, too: one client does for all of them.
    """
    url = os.environ.get("UPSTREAM", "https://example.org")
    # trust_env: a proxy in the environment (HTTP_PROXY) is not asked.
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        app.extensions["upstream"] = client
        yield


@app.get("/", defaults={"path": ""})
@app.get("/<path:path>")
async def proxy(path: str) -> Response:
    client: httpx.AsyncClient = app.extensions["upstream"]
    query = request.query_string.decode("ascii", "replace")
    try:
        # While this waits, its worker thread waits, and the loop serves everybody else.
        reply = await client.get(f"/{path}?{query}" if query else f"/{path}")
    except httpx.TimeoutException:
        return Response("The upstream is silent.\n", status=504, mimetype="text/plain")
    except httpx.TransportError as error:
        return Response(f"No upstream: {error}\n", status=502, mimetype="text/plain")
    headers = [(k, v) for k, v in reply.headers.multi_items() if k.lower() not in NOT_PASSED_ON]
    return Response(reply.content, status=reply.status_code, headers=headers)
