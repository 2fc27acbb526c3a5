"""What a worker is doing, for people."""

from __future__ import annotations

from collections import Counter
from textwrap import indent

from asyncwsgi.server.snapshot import RequestSnapshot, Snapshot
from asyncwsgi.words import counted

MOST_REQUESTS = 100
"""Requests that are described, the oldest ones."""
LARGEST_TARGET = 200
LARGEST_STACK = 4096


def describe(snapshot: Snapshot) -> str:
    """Several lines: connections by state, threads, and each request with where it stands."""
    states = Counter(connection.state for connection in snapshot.connections)
    parts = [f"{count} {state}" for state, count in sorted(states.items())]
    connections = counted(len(snapshot.connections), "connection")
    lines = [
        f"{connections}{_in_brackets(parts)}, "
        f"{counted(len(snapshot.requests), 'request')} in flight, "
        f"{snapshot.queue_size} queued, {snapshot.thread_count} threads, "
        f"{snapshot.submitted_count} requests so far"
        f"{', stopping' if snapshot.is_draining else ''}"
    ]
    oldest = sorted(snapshot.requests, key=lambda request: -request.age)
    lines += [_describe(request) for request in oldest[:MOST_REQUESTS]]
    if len(oldest) > MOST_REQUESTS:
        lines.append(f"  and {len(oldest) - MOST_REQUESTS} more")
    return "\n".join(lines)


def _describe(request: RequestSnapshot) -> str:
    target = request.target[:LARGEST_TARGET]
    head = f"  {request.age:.1f} s {request.state} {request.method} {target}"
    stack = request.stack[-LARGEST_STACK:].rstrip("\n")
    return f"{head}\n{indent(stack, '    ')}" if stack else head


def _in_brackets(parts: list[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""
