"""How several processes share the clients of one address: `python bench/accepting.py`.

Three ways: all loops watch one socket (`shared`); each watches an epoll descriptor of its own that
has the socket in it, with EPOLLEXCLUSIVE (`exclusive`); each has a socket of its own (`own`, with
SO_REUSEPORT).  And three kinds of clients, 64 each, which stay connected: all at once (`burst`),
one behind the answer of the other (`one`), and one every 2 ms while up to eight of those before
keep asking (`load`).  What is counted: the clients of each process, how often a loop was woken up
and found nobody, and how often processes waited and were woken up by the kernel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import select
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable

CLIENTS = 64
AT_ONCE = 16
WORK = 0.0002
"""Seconds of CPU for an answer."""
WAYS = ("shared", "exclusive", "own")
KINDS = ("burst", "one", "load")
Counts = dict[str, int]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="%(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="%(default)s")
    options = parser.parse_args()
    print(f"medians of {options.rounds} rounds, {options.processes} processes\n")
    print("| clients | way | fewest, most | woken for nobody | switches |\n|---|---|---|---|---|")
    for kind in KINDS:
        for way in WAYS:
            rounds = [measure(way, kind, options.processes) for _ in range(options.rounds)]
            print(f"| {kind} | {way} | {' | '.join(cells(rounds))} |", flush=True)
    return 0


def cells(rounds: list[list[Counts]]) -> list[str]:
    def middle(value: Callable[[list[Counts]], float]) -> str:
        return f"{statistics.median(map(value, rounds)):.0f}"

    fewest = middle(lambda processes: min(each["accepted"] for each in processes))
    most = middle(lambda processes: max(each["accepted"] for each in processes))
    nobody = middle(lambda processes: sum(each["nobody"] for each in processes))
    return [f"{fewest}, {most}", nobody, middle(lambda p: sum(each["switches"] for each in p))]


def measure(way: str, kind: str, processes: int) -> list[Counts]:
    listeners = make_listeners(way, processes)
    told, tell = os.pipe()
    waits, ends = os.pipe()
    for listener in listeners:
        if os.fork() == 0:
            os.close(ends)
            Process(way, listener).run(tell, waits)
    time.sleep(0.3)  # until all of them wait
    clients = CONNECT[kind](listeners[0].getsockname())
    os.close(ends)
    said = b""
    while said.count(b"\n") < processes:
        said += os.read(told, 4096)
    for _ in range(processes):
        os.wait()
    for closable in (*clients, *listeners):
        closable.close()
    for descriptor in (told, tell, waits):
        os.close(descriptor)
    return [json.loads(line) for line in said.splitlines()]


def make_listeners(way: str, processes: int) -> list[socket.socket]:
    first = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listeners = [first]
    if way == "own":
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    for _ in range(processes - 1):
        if way == "own":
            address = first.getsockname()
            listeners.append(socket.create_server(address, backlog=2048, reuse_port=True))
        else:
            listeners.append(first)
    return listeners


class Process:
    def __init__(self, way: str, listener: socket.socket) -> None:
        self.loop = new_loop()
        self.listener = listener
        self.kept: list[socket.socket] = []
        self.counts = {"accepted": 0, "nobody": 0, "switches": 0}
        listener.setblocking(False)
        self.watched: socket.socket | select.epoll = listener
        if way == "exclusive":
            self.watched = select.epoll()
            self.watched.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def run(self, tell: int, waits: int) -> None:
        self.loop.add_reader(self.watched.fileno(), self.accept)
        self.loop.add_reader(waits, self.loop.stop)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        self.loop.run_forever()
        self.counts["switches"] = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
        os.write(tell, json.dumps(self.counts).encode() + b"\n")
        os._exit(0)

    def accept(self) -> None:
        for number in range(AT_ONCE):
            try:
                client, _ = self.listener.accept()
            except BlockingIOError:
                self.counts["nobody"] += number == 0
                return
            self.counts["accepted"] += 1
            self.kept.append(client)
            self.loop.add_reader(client, self.answer, client)

    def answer(self, client: socket.socket) -> None:
        if not client.recv(100):
            self.loop.remove_reader(client)
            return
        until = time.perf_counter() + WORK
        while time.perf_counter() < until:
            pass
        client.send(b"a")


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def ask(client: socket.socket) -> None:
    client.send(b"q")
    client.recv(1)


def burst(address: tuple[str, int]) -> list[socket.socket]:
    clients = [socket.socket() for _ in range(CLIENTS)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(address)
    for client in clients:
        client.setblocking(True)
        ask(client)
    return clients


def one(address: tuple[str, int]) -> list[socket.socket]:
    clients = []
    for _ in range(CLIENTS):
        client = socket.create_connection(address)
        ask(client)
        clients.append(client)
    return clients


def load(address: tuple[str, int]) -> list[socket.socket]:
    clients, threads, is_over = [], [], threading.Event()

    def go_on(client: socket.socket) -> None:
        while not is_over.is_set():
            ask(client)

    for number in range(CLIENTS):
        client = socket.create_connection(address)
        ask(client)
        clients.append(client)
        if number % 8 == 0:
            threads.append(threading.Thread(target=go_on, args=(client,)))
            threads[-1].start()
        time.sleep(0.002)
    is_over.set()
    for thread in threads:
        thread.join()
    return clients


CONNECT = {"burst": burst, "one": one, "load": load}

if __name__ == "__main__":
    sys.exit(main())
