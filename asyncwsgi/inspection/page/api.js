// The way to the site: requests with the key, and its event stream, read with fetch because
// EventSource sends no headers.

const KEPT_KEY = "key";

/** The site refuses the key: another run of the server, or a URL without it. */
export class Refused extends Error {}

/** A request that was answered with an error, in the site's own words. */
export class Failed extends Error {}

export class Api {
  // The fragment is never sent. It is kept, so that the address alone will do the next time; pages of
  // another host or port cannot read what is kept here.
  constructor() {
    this.key = location.hash.slice(1) || localStorage.getItem(KEPT_KEY) || "";
    if (this.key) localStorage.setItem(KEPT_KEY, this.key);
  }

  async #ask(path, options = {}) {
    const headers = { "X-Inspect-Key": this.key, ...options.headers };
    const response = await fetch(`/api/${path}`, { ...options, headers, cache: "no-store" });
    if (response.ok) return response;
    const text = await response.text();
    const message = errorOf(text) ?? `${response.status} ${response.statusText}`;
    throw response.status === 403 || response.status === 401 ? new Refused(message) : new Failed(message);
  }

  async get(path) {
    return (await this.#ask(path)).json();
  }

  async text(path) {
    return (await this.#ask(path)).text();
  }

  async post(path, value = {}) {
    const response = await this.#ask(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(value),
    });
    return errorless(await response.text());
  }

  /** Open the event stream: an async iterator of {type, data}; it ends when the stream does. */
  async events(signal) {
    return read((await this.#ask("events", { signal })).body);
  }
}

function errorOf(text) {
  return errorless(text)?.error ?? null;
}

function errorless(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function* read(body) {
  let rest = "";
  for await (const text of decoded(body)) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parsed(block);
      if (event) yield event;
    }
  }
}

async function* decoded(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function parsed(block) {
  let type = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) type = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? { type, data: errorless(data.join("\n")) } : type !== "message" ? { type, data: null } : null;
}
