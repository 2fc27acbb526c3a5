// The pane about one request.

import { body, headerTable, queryTable } from "./bodies.js";
import { button, el } from "./build.js";
import { clock, duration, offset, size, visible } from "./format.js";
import { isInFlight } from "./query.js";
import { timeline } from "./timeline.js";
import { placeLink, stack, traceback } from "./traceback.js";

const TABS = {
  timeline: "Timeline",
  traceback: "Traceback",
  stack: "Right now",
  request: "Request",
  response: "Response",
  events: "Events",
  logs: "Log",
};

export class Detail {
  #entry = null;
  #tab = "timeline"; // what was chosen last; an entry that has no such tab shows another one
  #views = new Map(); // how bodies are looked at
  #open = new Map(); // which folds are open
  #stack = null; // {text, at} of when somebody looked last
  #drawn = ""; // what the panel was drawn of
  #drawnTabs = "";

  /** @param actions what the buttons do: {replay, edit, copy, close, select, stack} */
  constructor(pane, actions) {
    Object.assign(this, { pane, actions, settings: { editor: "", origin: "", directory: "" } });
    this.actionBar = el("div");
    this.facts = el("div");
    this.head = el("header", {}, this.actionBar, this.facts);
    this.tabs = el("div.tabs", { role: "tablist", "aria-label": "About this request", keydown: (event) => this.#tabKey(event) });
    this.panel = el("div.panel", { role: "tabpanel", tabindex: "0", id: "panel" });
    this.panel.addEventListener("toggle", (event) => this.#folded(event), true);
    pane.append(this.head, this.tabs, this.panel);
  }

  get entry() {
    return this.#entry;
  }

  close() {
    this.#entry = null;
    this.pane.hidden = true;
  }

  /** Show an entry, or what has become of the one that is shown. */
  show(entry) {
    const isOther = entry.id !== this.#entry?.id;
    if (isOther) [this.#stack, this.#open] = [null, new Map()];
    this.#entry = entry;
    this.pane.hidden = false;
    // Nothing is made anew that has not changed, or a click and a selection would be lost to it.
    if (isOther) this.actionBar.replaceChildren(this.#actionsOn(entry));
    this.facts.replaceChildren(...this.#factsOf(entry));
    this.#drawTabs();
    this.#drawPanel(isOther);
  }

  /** Show the tab beside the one that is shown. */
  step(by) {
    const names = this.#names();
    this.choose(names[(names.indexOf(this.#shown()) + by + names.length) % names.length]);
  }

  choose(name) {
    this.#tab = name;
    this.#drawTabs();
    this.#drawPanel(true);
    if (name === "stack" && this.#stack === null) this.lookNow();
  }

  focus() {
    this.panel.focus();
  }

  async lookNow() {
    const { id } = this.#entry;
    const text = await this.actions.stack(id);
    if (this.#entry?.id !== id) return;
    this.#stack = { text, at: Date.now() / 1000 };
    if (this.#shown() === "stack") this.#drawPanel(false);
  }

  #names() {
    const entry = this.#entry;
    const has = {
      timeline: true,
      traceback: Boolean(entry.traceback),
      stack: isInFlight(entry) || this.#stack !== null,
      request: true,
      response: entry.status != null || entry.response_headers?.length > 0,
      events: entry.events.length > 0,
      logs: entry.logs.length > 0,
    };
    return Object.keys(TABS).filter((name) => has[name]);
  }

  #shown() {
    return this.#names().includes(this.#tab) ? this.#tab : "timeline";
  }

  #actionsOn({ id }) {
    const copies = [["curl", "curl"], ["httpx", "httpx"], ["test", "a pytest test"]];
    return el("div.bar", {},
      button("Replay", "Send it again (r)", () => this.actions.replay(id)),
      button("Edit…", "Change it and send it (e)", () => this.actions.edit(this.#entry)),
      el("span.group", { role: "group", "aria-label": "Copy as" },
        el("span.quiet", {}, "Copy as"),
        copies.map(([name, text]) => button(name, `Copy as ${text}${name === "curl" ? " (c)" : ""}`,
          (event) => this.actions.copy(id, name, event.currentTarget)))),
      button("×", "Close (Esc)", () => this.actions.close(), { class: "close push", "aria-label": "Close" }));
  }

  #factsOf(entry) {
    const { flask } = entry;
    return [
      el("h2", {},
        el("span.badge", { class: statusClass(entry) }, statusText(entry)), " ",
        el("span.method", {}, visible(entry.method)), " ", el("span.target", {}, visible(entry.target))),
      el("p.facts.quiet", {}, joined([
        flask?.view && (flask.file
          ? [el("code", {}, visible(flask.view)), " ", placeLink(this.settings, flask.file, flask.line)]
          : el("code", {}, visible(flask.view))),
        flask?.rule && el("code", {}, visible(flask.rule)),
        clock(entry.began_at, 3),
        entry.duration != null && duration(entry.duration),
        entry.response_size != null && entry.status != null && `${size(entry.response_size)} sent`,
        `${visible(entry.protocol ?? "")} from ${visible(entry.client ?? "")}`,
        entry.replay_of && el("span", {}, "replay of ",
          button("another request", "Show that request", () => this.actions.select(entry.replay_of), { class: "link" })),
      ])),
    ];
  }

  #drawTabs() {
    const counts = { events: this.#entry.events.length, logs: this.#entry.logs.length };
    const [shown, names] = [this.#shown(), this.#names()];
    const drawn = JSON.stringify([shown, names, counts]);
    if (drawn === this.#drawnTabs) return;
    this.#drawnTabs = drawn;
    const hadFocus = this.tabs.contains(document.activeElement);
    this.tabs.replaceChildren(...names.map((name) => el("button.tab", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel",
      "aria-selected": String(name === shown), tabindex: name === shown ? "0" : "-1",
      click: () => this.choose(name),
    }, TABS[name], counts[name] ? el("span.count", {}, String(counts[name])) : null)));
    this.panel.setAttribute("aria-labelledby", `tab-${shown}`);
    if (hadFocus) this.tabs.querySelector('[aria-selected="true"]').focus();
  }

  #tabKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    this.step(step);
  }

  #drawPanel(isAnew) {
    const drawn = JSON.stringify(this.#sourcesOf(this.#shown()));
    if (!isAnew && drawn === this.#drawn) return;
    this.#drawn = drawn;
    const { scrollTop, scrollHeight, clientHeight } = this.panel;
    const wasAtEnd = scrollTop > 0 && scrollTop + clientHeight >= scrollHeight - 2;
    const content = this.#contentOf(this.#shown());
    this.panel.replaceChildren(...content.flat(Infinity).filter((child) => child != null && child !== false));
    [...this.panel.querySelectorAll("details")].forEach((fold, i) => {
      const isOpen = this.#open.get(`${this.#shown()} ${i}`);
      if (isOpen !== undefined) fold.open = isOpen;
      fold.index = i;
    });
    // Who watches events come is kept at the newest one.
    this.panel.scrollTop = isAnew ? 0 : wasAtEnd && this.#shown() === "events" ? this.panel.scrollHeight : scrollTop;
  }

  #folded({ target }) {
    if (target.index !== undefined) this.#open.set(`${this.#shown()} ${target.index}`, target.open);
  }

  /** What a tab is drawn of. */
  #sourcesOf(name) {
    const entry = this.#entry;
    switch (name) {
      case "timeline": return [entry.marks, entry.spans, entry.state, isInFlight(entry) && Date.now()];
      case "stack": return [this.#stack, entry.state];
      case "request": return [entry.request_headers, entry.request_body];
      case "response": return [entry.response_headers, entry.response_body];
      case "traceback": return [entry.traceback, entry.frames, entry.debugger];
      default: return [entry[name], entry.state];
    }
  }

  #contentOf(name) {
    const entry = this.#entry;
    switch (name) {
      case "timeline": return [timeline(entry, Date.now() / 1000 - entry.began_at)];
      case "traceback": return [traceback(entry, this.settings)];
      case "stack": return this.#stackContent();
      case "request": return [
        queryTable(entry.target),
        el("h3", {}, "Headers"), headerTable(entry.request_headers, "Request headers"),
        el("h3", {}, "Body"), body(entry.request_body, entry.request_headers, this.#views, "request"),
      ];
      case "response": return [
        el("h3", {}, "Headers"), headerTable(entry.response_headers, "Response headers"),
        el("h3", {}, "Body"), body(entry.response_body, entry.response_headers, this.#views, "response"),
      ];
      case "events": return [
        el("ol.events", {}, entry.events.map(({ at, text }) =>
          el("li", {}, el("span.number.quiet", {}, offset(at)),
            el("pre", { class: text.startsWith(":") ? "quiet" : null }, text.trimEnd())))),
        isInFlight(entry) && el("p.quiet", {}, el("i.pulse"), " The stream is open."),
      ];
      case "logs": return [el("ol.logs", {}, entry.logs.map(({ at, level, logger, text }) =>
        el("li", { "data-level": level },
          el("span.number.quiet", {}, offset(at)), el("span.level", {}, visible(level)),
          el("span.quiet", {}, visible(logger)), el("pre", {}, text))))];
    }
  }

  #stackContent() {
    const look = button("Look again", "Ask for the stack as it is now (s)", () => this.lookNow());
    if (this.#stack === null) return [el("p.quiet", {}, "Asking the worker…")];
    const { text, at } = this.#stack;
    return [
      el("p", {}, look, " ", el("span.quiet", {}, `as it was at ${clock(at, 3)}`)),
      text ? stack(text, this.settings) : el("p.quiet", {}, "No code of it runs at the moment, or it has ended."),
    ];
  }
}

export function statusText(entry) {
  if (entry.status != null) return String(entry.status);
  return { lost: "lost", ended: "none" }[entry.state] ?? "···";
}

export function statusClass(entry) {
  if (entry.state === "lost") return "bad";
  return { 2: "good", 3: "info", 4: "warn", 5: "bad" }[Math.floor(entry.status / 100)] ?? null;
}

function joined(parts) {
  return parts.filter(Boolean).flatMap((part, i) => (i ? [" · ", part] : [part]));
}
