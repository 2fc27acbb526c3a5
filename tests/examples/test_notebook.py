"""examples/notebook.ipynb, in a kernel: cells in a loop that runs, run again and again."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Iterator

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from tests.client import TIMEOUT, reserved_port
from tests.examples.programs import EXAMPLES


class Notebook:
    """Cells by the names that the file gives them."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client
        self._cells = {cell.id: (index, cell) for index, cell in enumerate(client.nb.cells)}

    def run(self, name: str) -> str:
        """Run a cell; what it prints, or the value of its last line."""
        index, cell = self._cells[name]
        output = self._client.execute_cell(cell, index).outputs
        return "".join(each.get("text") or each["data"]["text/plain"] for each in output)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with reserved_port() as port:
        monkeypatch.setenv("PORT", str(port))
        monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
        yield port


@pytest.fixture
def kernel() -> Iterator[Config]:
    """How the kernel is reached: its ports would be chosen long before it binds them."""
    with tempfile.TemporaryDirectory() as folder:  # the path of a Unix socket has to be short
        way = {"transport": "ipc", "ip": f"{folder}/kernel"} if sys.platform != "win32" else {}
        yield Config({"KernelManager": way})


@pytest.fixture
def notebook(port: int, kernel: Config) -> Iterator[Notebook]:
    source = nbformat.read(EXAMPLES / "notebook.ipynb", 4)  # type: ignore[no-untyped-call]
    timeout = int(TIMEOUT)
    client = NotebookClient(source, timeout=timeout, iopub_timeout=timeout, config=kernel)
    with client.setup_kernel():
        yield Notebook(client)


def test_a_cell_that_runs_again_replaces_its_server(notebook: Notebook, port: int) -> None:
    notebook.run("app")
    assert notebook.run("serve") == f"listening on http://127.0.0.1:{port}\n"
    assert notebook.run("client") == "'visit 1'"
    assert notebook.run("serve") == f"listening on http://127.0.0.1:{port}\n"
    assert notebook.run("client") == "'visit 2'"
    notebook.run("stop")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT).close()


def test_from_top_to_bottom_twice(notebook: Notebook) -> None:
    for name in ("app", "serve", "client", "stop") * 2:
        said = notebook.run(name)
        assert name != "client" or said == "'visit 1'"
