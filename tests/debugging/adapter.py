"""A client of the debug adapter protocol that does what VS Code does, as far as a launch needs.

https://microsoft.github.io/debug-adapter-protocol/specification. The adapter is debugpy's. It asks
the client to start the program in its terminal (``runInTerminal``), and to attach to each Python
process that the program starts (``startDebugging``), for which there is a session of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from tests.client import TIMEOUT

Message = dict[str, Any]
CAPABILITIES = {
    "adapterID": "debugpy",
    "clientID": "vscode",
    "pathFormat": "path",
    "linesStartAt1": True,
    "columnsStartAt1": True,
    "supportsRunInTerminalRequest": True,
    "supportsStartDebuggingRequest": True,
}


class Session:
    """One conversation with the adapter: about the program, or about one of its processes.

    Args:
        reader: what the adapter says.
        writer: what it is told.
        serve: answers its requests; called with the command and its arguments.
    """

    def __init__(
        self, reader: IO[bytes], writer: IO[bytes], serve: Callable[[str, Message], Message]
    ) -> None:
        self._reader, self._writer, self._serve = reader, writer, serve
        self._numbers = itertools.count(1)
        self._messages: list[Message] = []
        self._has_ended = False
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of a conversation that the other side has ended."""
        self._thread.join(TIMEOUT)
        self._reader.close()
        self._writer.close()

    def begin(self, command: str, **arguments: Any) -> int:
        """Send a request; its number."""
        number = next(self._numbers)
        self._send({"seq": number, "type": "request", "command": command, "arguments": arguments})
        return number

    def ask(self, command: str, **arguments: Any) -> Message:
        """Send a request; the body of its answer."""
        return self.answer(self.begin(command, **arguments))

    def answer(self, number: int) -> Message:
        """The body of the answer to a request, once it comes."""
        message = self._wait_for(lambda m: m.get("request_seq") == number)
        assert message["success"], message
        body: Message = message.get("body") or {}
        return body

    def event(self, name: str) -> Message:
        """The body of the next event of that name, once it comes."""
        message = self._wait_for(lambda m: m["type"] == "event" and m["event"] == name)
        body: Message = message.get("body") or {}
        return body

    def configure(self, number: int, file: Path, lines: list[int]) -> None:
        """Set breakpoints and have the process run.

        Args:
            number: that of the request ``launch`` or ``attach``, which is answered behind this.
            file: where the breakpoints are.
            lines: on which of its lines.
        """
        self.event("initialized")
        points = [{"line": line} for line in lines]
        self.ask("setBreakpoints", source={"path": str(file)}, breakpoints=points)
        self.ask("configurationDone")
        self.answer(number)

    def _wait_for(self, is_wanted: Callable[[Message], bool]) -> Message:
        def found() -> Message | None:
            return next((m for m in self._messages if is_wanted(m)), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or self._has_ended, TIMEOUT)
            message = found()
            assert message is not None, f"it has not come; these have: {self._messages}"
            self._messages.remove(message)
            return message

    def _send(self, message: Message) -> None:
        data = json.dumps(message).encode()
        with self._sending:
            self._writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
            self._writer.flush()

    def _listen(self) -> None:
        while length := self._length():
            message = json.loads(self._reader.read(length))
            if message["type"] == "request":
                body = self._serve(message["command"], message["arguments"])
                self._send({
                    "seq": next(self._numbers), "type": "response", "success": True,
                    "request_seq": message["seq"], "command": message["command"], "body": body,
                })  # fmt: skip
                continue
            with self._news:
                self._messages.append(message)
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def _length(self) -> int:
        length = 0
        while line := self._reader.readline().strip():
            length = int(line.partition(b":")[2])
        return length


class Editor:
    """An editor that debugs one program, and what that starts.

    Args:
        file: has the breakpoints.
        lines: on which of its lines.
        run: starts the program in the editor's terminal: by its command line and what is added to
            the environment; returns its number.
    """

    def __init__(
        self, file: Path, lines: list[int], run: Callable[[list[str], Mapping[str, str]], int]
    ) -> None:
        self._file, self._lines, self._run = file, lines, run
        self._attached: list[Session] = []
        self._news = threading.Condition()
        self._sessions: list[tuple[Session, socket.socket]] = []
        self._adapter = subprocess.Popen(
            [sys.executable, "-m", "debugpy.adapter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def launch(self, configuration: Message) -> Session:
        """Start debugging by an entry of ``launch.json``; the session of the program itself."""
        assert self._adapter.stdin is not None
        assert self._adapter.stdout is not None
        session = Session(self._adapter.stdout, self._adapter.stdin, self._serve)
        session.ask("initialize", **CAPABILITIES)
        number = session.begin("launch", **configuration)
        session.configure(number, self._file, self._lines)
        return session

    def process(self, number: int) -> Session:
        """The session of a process that the program has started, by order of their start."""
        with self._news:
            assert self._news.wait_for(lambda: len(self._attached) > number, TIMEOUT)
            return self._attached[number]

    def close(self) -> None:
        self._adapter.kill()
        self._adapter.communicate()
        for session, sock in self._sessions:
            with contextlib.suppress(OSError):  # it is closed already
                sock.shutdown(socket.SHUT_RDWR)
            session.close()
            sock.close()

    def _serve(self, command: str, arguments: Message) -> Message:
        if command == "runInTerminal":
            return {"processId": self._run(arguments["args"], arguments.get("env", {}))}
        assert command == "startDebugging", command
        # It is answered at once: the process waits until its session is configured.
        threading.Thread(
            target=self._attach, args=[arguments["configuration"]], daemon=True
        ).start()
        return {}

    def _attach(self, configuration: Message) -> None:
        where = configuration["connect"]
        sock = socket.create_connection((where["host"], where["port"]))
        session = Session(sock.makefile("rb"), sock.makefile("wb"), self._serve)
        self._sessions.append((session, sock))
        session.ask("initialize", **CAPABILITIES)
        session.configure(session.begin("attach", **configuration), self._file, self._lines)
        with self._news:
            self._attached.append(session)
            self._news.notify_all()
