"""Servers in processes that gevent has patched, before this package is imported and after it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.client import TIMEOUT, connect
from tests.doors.conftest import Start, Write
from tests.doors.processes import address_of

WEB = """
from gevent import monkey

monkey.patch_all({options})

import asyncio
import threading

from asyncwsgi import from_thread

GATE = threading.Event()


async def on_the_loop():
    await asyncio.sleep(0)
    return b"the loop"


def app(environ, start_response):
    match environ["PATH_INFO"]:
        case "/wait":
            assert GATE.wait({timeout}), "nobody else was served meanwhile"
            body = b"waited"
        case "/open":
            GATE.set()
            body = b"opened"
        case "/upload":
            body = environ["wsgi.input"].read()
        case "/loop":
            body = from_thread.run(on_the_loop)
    start_response("200 OK", [("Content-Type", "text/plain")])
    # Blocks, and more than is sent ahead of a client: their thread has to wait for it.
    return (body for _ in range(8))
"""

# Servers in threads of their own, which are greenlets here, as are those of their clients.
EMBEDDED = """
import web, threading, urllib.request
from asyncwsgi import serve_in_thread, serving
from asyncwsgi.testing import LiveServer

def ask(url):
    web.GATE.set()
    print(urllib.request.urlopen(f"{url}/wait").read().decode())

with serve_in_thread(web.app, port=0) as server:
    ask(server.url)
with LiveServer(web.app) as server:
    ask(server.url)
serving.install()
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, web.app, threaded=True)
thread = threading.Thread(target=server.serve_forever)
thread.start()
ask(f"http://127.0.0.1:{server.port}")
server.shutdown()
thread.join()
"""
RUN = "import web, asyncwsgi, sys; sys.exit(asyncwsgi.run(web.app, port=0))"


@pytest.mark.parametrize("options", ["", "thread=False"])
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("-c", RUN), id="patched before"),
        pytest.param(("-m", "asyncwsgi", "--port", "0", "web:app"), id="patched after"),
    ],
)
def test_a_process_that_gevent_has_patched_serves(
    start: Start, write: Write, arguments: tuple[str, ...], options: str
) -> None:
    write("web.py", WEB.format(options=options, timeout=TIMEOUT))
    process = start(*arguments)
    address = address_of(process.urls()[0])
    large = b"x" * 1024 * 1024
    with connect(address) as first, connect(address) as second, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first.get, "/wait")
        assert second.get("/open").body == b"opened" * 8
        assert waiting.result(TIMEOUT).body == b"waited" * 8
        assert second.get("/loop").body == b"the loop" * 8
        assert second.post("/upload", large).body == large * 8
    assert process.interrupt() == 0


@pytest.mark.parametrize("options", ["", "thread=False"])
def test_a_program_that_gevent_has_patched_is_served_from_a_thread(
    start: Start, write: Write, options: str
) -> None:
    write("web.py", WEB.format(options=options, timeout=TIMEOUT))
    process = start("-c", EMBEDDED)
    assert process.wait() == 0, process.log
    assert process.output.split() == ["waited" * 8] * 3
