"""A Flask application whose page is a chat, by WebSockets that hold no worker thread.

    pip install '.[flask,websockets]'
    asyncwsgi --threads 1 examples/websocket_chat.py

Then open http://127.0.0.1:8000 in some tabs of a browser, or http://127.0.0.1:8000/?room=kitchen.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any

from flask import Flask, abort, request

import asyncwsgi

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Chat on asyncwsgi</title>
<style>
  :root { color-scheme: light dark; }
  body { margin: 3rem auto; max-width: 40rem; padding: 0 1rem; font: 1rem/1.5 system-ui; }
  form { display: flex; gap: .6rem; }
  input { font: inherit; padding: .3rem .5rem; }
  input[name=text] { flex: 1; }
</style>
<h1>Chat</h1>
<form>
  <input name="name" aria-label="Name" size="8" value="guest" required>
  <input name="text" aria-label="Text" required autofocus><button>Say</button>
</form>
<p id="state">connecting</p>
<ul id="said"></ul>
<script>
  const said = document.getElementById("said"), state = document.getElementById("state");
  const room = new URLSearchParams(location.search).get("room") || "hall";
  let socket;
  function connect() {
    socket = new WebSocket(`${location.origin.replace("http", "ws")}/chat/${room}`);
    socket.onmessage = (event) => {
      const {here, name, text} = JSON.parse(event.data);
      if (here !== undefined) { state.textContent = `${here} here`; return; }
      const item = document.createElement("li");
      item.textContent = `${name}: ${text}`;
      said.prepend(item);
    };
    socket.onclose = () => { state.textContent = "connecting again"; setTimeout(connect, 500); };
  }
  connect();
  document.forms[0].onsubmit = (event) => {
    event.preventDefault();
    const {name, text} = event.target.elements;
    socket.send(JSON.stringify({name: name.value, text: text.value}));
    text.value = "";
  };
</script>
</html>
"""

app = Flask(__name__)
rooms: defaultdict[str, set[asyncwsgi.WebSocketConnection]] = defaultdict(set)
"""Who is where. All handlers run on one loop, so that nothing here needs a lock."""


async def tell(room: str, message: dict[str, Any]) -> None:
    """Tell everyone in the room; who reads slowly holds up nobody but who tells."""
    sending = [ws.send_json(message) for ws in rooms[room]]
    await asyncio.gather(*sending, return_exceptions=True)  # who has just left is told nothing


@app.get("/")
def index() -> str:
    return PAGE


@app.before_request
def check() -> None:
    # The handshake is a request like any other: this is where a login would be asked for.
    if request.args.get("name") == "Mallory":
        abort(403)


@app.route("/chat/<room>", websocket=True)
@asyncwsgi.websocket(max_message_size=4096)
async def chat(ws: asyncwsgi.WebSocketConnection, room: str) -> None:
    rooms[room].add(ws)
    try:
        await tell(room, {"here": len(rooms[room])})
        async for message in ws:
            said = json.loads(message)
            await tell(room, {"name": str(said["name"]), "text": str(said["text"])})
    finally:
        # The client has left, or the server stops.
        rooms[room].discard(ws)
        await tell(room, {"here": len(rooms[room])})
