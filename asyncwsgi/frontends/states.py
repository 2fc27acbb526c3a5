"""The states of an HTTP connection, and which events lead from one to which others.

The table is the law: `asyncwsgi.frontends.http` changes its state in one method, which asserts that
the table knows the way. It says where an event may end; what is passed on the way, such as `IDLE`
between two requests that came together, is entered as well. What a state does not take, it ignores.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """What the connection is waiting for."""

    NEW = "its transport"
    IDLE = "the first byte of a request"
    HEAD = "the rest of a request head"
    BODY = "as much of the request body as a worker thread is worth"
    RESPONDING = "the application"
    BLOCKED = "the client to take its last response, before its next request is begun"
    DRAINING = "the rest of a request body that nobody read"
    LINGERING = "the client to close, after the last byte was sent to it"
    TAKEN_OVER = "whoever has taken the socket"
    CLOSING = "the transport to send what is unsent, and to close"
    CLOSED = "nothing"

    leads_to: tuple[State, ...]
    """The states that may follow."""


class Event(enum.Enum):
    """What a connection is told."""

    CONNECTED = "the transport is there"
    DATA = "bytes from the client"
    EOF = "the client sends nothing more"
    WRITABLE = "the client has caught up with what was sent"
    RESPONSE_ENDED = "the application is done"
    TAKE_OVER = "the application wants the socket"
    DEADLINE = "what was waited for has not come in time"
    CLOSE_IDLE = "the server stops: close unless a request is in hand"
    CLOSE = "whoever owns the connection closes it"
    LOST = "the transport is gone"


_ANSWERED = (State.LINGERING, State.CLOSING)
"""Behind a refusal: half closed where the transport can, so that the client gets to read it."""
_NEXT = (State.IDLE, State.HEAD, State.BODY, State.RESPONDING, *_ANSWERED)
"""Behind a response; the next request may have been received already, whole or in part."""
_END = {Event.CLOSE: (State.CLOSING,), Event.LOST: (State.CLOSED,)}

TABLE: dict[State, dict[Event, tuple[State, ...]]] = {
    State.NEW: {
        Event.CONNECTED: (State.IDLE, *_ANSWERED),  # the server is full, or has just stopped
    },
    State.IDLE: {
        Event.DATA: (State.HEAD, State.BODY, State.RESPONDING, *_ANSWERED),
        Event.EOF: (State.CLOSING,),
        Event.DEADLINE: (State.CLOSING,),
        Event.CLOSE_IDLE: (State.CLOSING,),
        **_END,
    },
    State.HEAD: {
        Event.DATA: (State.BODY, State.RESPONDING, *_ANSWERED),
        Event.EOF: (State.CLOSING,),
        Event.DEADLINE: _ANSWERED,
        Event.CLOSE_IDLE: (State.CLOSING,),
        **_END,
    },
    State.BODY: {
        Event.DATA: (State.RESPONDING, *_ANSWERED),
        Event.EOF: (State.CLOSING,),
        Event.DEADLINE: _ANSWERED,
        **_END,
    },
    State.RESPONDING: {
        Event.EOF: (State.CLOSING,),  # of who reads a response without an end
        Event.RESPONSE_ENDED: (State.DRAINING, State.BLOCKED, State.TAKEN_OVER, *_NEXT),
        Event.TAKE_OVER: (State.TAKEN_OVER, State.CLOSING),
        **_END,
    },
    State.BLOCKED: {
        Event.WRITABLE: _NEXT,
        Event.CLOSE_IDLE: _ANSWERED,
        **_END,
    },
    State.DRAINING: {
        Event.DATA: (State.BLOCKED, *_NEXT),
        Event.EOF: (State.CLOSING,),
        Event.DEADLINE: _ANSWERED,
        Event.CLOSE_IDLE: _ANSWERED,
        **_END,
    },
    State.LINGERING: {
        Event.EOF: (State.CLOSING,),
        Event.DEADLINE: (State.CLOSING,),
        Event.CLOSE_IDLE: (State.CLOSING,),
        **_END,
    },
    State.TAKEN_OVER: {
        Event.DATA: _ANSWERED,  # a protocol that has followed HTTP has ended
        Event.EOF: (State.CLOSING,),
        Event.DEADLINE: (State.CLOSING,),
        Event.CLOSE_IDLE: (State.CLOSING,),
        **_END,
    },
    State.CLOSING: {Event.LOST: (State.CLOSED,)},
    State.CLOSED: {},
}

for _state, _events in TABLE.items():
    _state.leads_to = tuple({target: None for targets in _events.values() for target in targets})
