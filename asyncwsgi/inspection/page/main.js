// The page of the request inspector: what it holds, what keys and buttons do, and the stream it follows.

import { Api, Failed, Refused } from "./api.js";
import { write } from "./build.js";
import { Detail } from "./detail.js";
import { Filter } from "./filter.js";
import { count, visible } from "./format.js";
import { VirtualList } from "./list.js";
import { isInFlight, parse } from "./query.js";
import { ReplayDialog } from "./replay.js";
import { fillRow, makeRow } from "./rows.js";
import { splitter } from "./splitter.js";
import { Threads } from "./threads.js";

const ROW_HEIGHT = 28;
const DRAW_EVERY = 100; // milliseconds between two looks at what has come
const FETCH_EVERY = 400;
const PATIENCE = [250, 500, 1000, 2000, 4000]; // milliseconds before a lost stream is opened again

const $ = (id) => document.getElementById(id);
const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const time = () => Date.now() / 1000;

const api = new Api();
const threads = new Threads($("threads"), $("meter"), $("threads-text"));
const entries = new Map(); // id to summary, in the order in which they came
let settings = { origin: "", editor: "", directory: "", app: "", version: "" };
let query = parse("");
let selected = null;
let paused = null; // the ids that stand still, while it is paused
let isDirty = false;
let order = "came";
let dropped = 0;
let chosenDetail = null; // the id that the pane shows or is about to show

// --- the list

const list = new VirtualList($("list"), $("rows"), {
  rowHeight: ROW_HEIGHT,
  make: makeRow,
  fill: fillRow,
  select: (entry) => select(entry.id, { opens: true }),
});

const ORDERS = {
  came: null,
  status: (entry) => entry.status ?? 0,
  size: (entry) => entry.response_size ?? 0,
  duration: (entry) => entry.duration ?? time() - entry.began_at,
};

/** All as they stand if nothing else is asked for: those in flight first, then the newest. */
function standing() {
  const [open, ended] = [[], []];
  for (const entry of [...entries.values()].reverse()) (isInFlight(entry) ? open : ended).push(entry);
  return [...open, ...ended];
}

function shown() {
  const all = paused ? paused.map((id) => entries.get(id)).filter(Boolean) : standing();
  const matching = all.filter(query.matches);
  const key = ORDERS[order];
  return key ? matching.sort((one, other) => key(other) - key(one)) : matching;
}

function draw() {
  isDirty = false;
  const items = shown();
  list.show(items);
  const isEmpty = entries.size === 0;
  $("empty").hidden = !isEmpty;
  $("no-match").hidden = isEmpty || items.length > 0;
  const open = [...entries.values()].filter(isInFlight).length;
  const total = count(entries.size, "request");
  write($("count"), items.length === entries.size ? total : `${items.length.toLocaleString("en")} of ${total}`);
  write($("open"), open ? `${open} in flight` : "");
  write($("dropped"), dropped ? `${count(dropped, "report")} dropped` : "");
  const fresh = paused ? entries.size - paused.filter((id) => entries.has(id)).length : 0;
  write($("pause"), paused ? (fresh ? `Resume · ${fresh} new` : "Resume") : "Pause");
  document.title = `${open ? `(${open}) ` : ""}${settings.app || "asyncwsgi"} · requests`;
}

setInterval(() => isDirty && draw(), DRAW_EVERY);
// Ages count, in the rows that can be seen.
setInterval(() => {
  if (list.items.some((entry) => isInFlight(entry))) list.draw();
}, DRAW_EVERY);

// --- one request

const detail = new Detail($("detail"), {
  replay,
  edit: (entry) => dialog.open(entry),
  copy,
  close: closeDetail,
  select: (id) => select(id, { opens: true }),
  stack: async (id) => (await attempt(() => api.get(`entries/${encodeURIComponent(id)}/stack`)))?.stack ?? null,
});
const dialog = new ReplayDialog($("replay"), send);

function select(id, { opens = false, focuses = false } = {}) {
  selected = id;
  list.activate(id);
  const index = list.items.findIndex((entry) => entry.id === id);
  if (index >= 0) list.reveal(index);
  if (opens || !$("detail").hidden) showDetail(id, focuses);
}

async function showDetail(id, focuses = false) {
  chosenDetail = id;
  const entry = await attempt(() => api.get(`entries/${encodeURIComponent(id)}`));
  // Meanwhile another one may have been chosen.
  if (!entry || chosenDetail !== id) return;
  document.body.classList.add("with-detail");
  detail.show(entry);
  list.draw();
  if (focuses) detail.focus();
}

// An entry that changes all the time is asked for now and then.
let isFetching = false;
async function refreshDetail() {
  if (isFetching || !detail.entry) return;
  isFetching = true;
  await later(FETCH_EVERY);
  isFetching = false;
  if (detail.entry && chosenDetail === detail.entry.id) await showDetail(chosenDetail);
}

function closeDetail() {
  chosenDetail = null;
  detail.close();
  document.body.classList.remove("with-detail");
  $("list").focus();
}

function move(by) {
  const { items } = list;
  if (!items.length) return;
  const index = items.findIndex((entry) => entry.id === selected);
  // Whoever has chosen nothing begins at the top.
  const next = Math.min(Math.max(index + by, 0), items.length - 1);
  select(items[next].id);
}

async function replay(id) {
  say("Sending it again…");
  await attempt(() => send({ id }));
}

async function send(request) {
  const answer = await api.post("replay", request);
  const left = answer.left_out?.length ? ` Left out, since masked: ${answer.left_out.map(visible).join(", ")}.` : "";
  say(`Sent again${answer.status ? `: ${answer.status}` : ""}.${left}`);
  if (answer.id) select(answer.id, { opens: true });
}

async function copy(id, way, from) {
  const text = await attempt(() => api.text(`entries/${encodeURIComponent(id)}/copy/${way}`));
  if (text == null) return;
  try {
    await navigator.clipboard.writeText(text);
    from?.classList.add("copied");
    setTimeout(() => from?.classList.remove("copied"), 1200);
    say(`Copied as ${way}.`);
  } catch {
    // Without permission or on plain HTTP elsewhere: the text is there, selected.
    $("copied").querySelector("textarea").value = text;
    $("copied").showModal();
    $("copied").querySelector("textarea").select();
  }
}

/** Do what may fail; what went wrong is said, and null is what comes of it. */
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof Failed) say(error.message, true);
    else if (error instanceof Refused) refuse(error);
    else say("The server does not answer.", true);
    return null;
  }
}

let silence = 0;
function say(text, isBad = false) {
  $("said").textContent = text;
  $("said").classList.toggle("bad", isBad);
  clearTimeout(silence);
  silence = setTimeout(() => ($("said").textContent = ""), isBad ? 8000 : 3000);
}

// --- the stream

const RECEIVERS = {
  entry: (summary) => {
    entries.set(summary.id, summary);
    isDirty = true;
    if (summary.id === detail.entry?.id) refreshDetail();
  },
  now: (now) => {
    threads.show(now?.threads);
    if (detail.entry && isInFlight(detail.entry)) refreshDetail();
  },
  gone: (ids) => {
    for (const id of ids ?? []) entries.delete(id);
    isDirty = true;
  },
  cleared: () => {
    entries.clear();
    isDirty = true;
  },
};

async function follow() {
  let failures = 0;
  for (;;) {
    try {
      const events = await api.events();
      settings = { ...settings, ...(await api.get("settings")) };
      const { entries: kept, now, dropped: lost } = await api.get("entries");
      begin(kept, now, lost);
      if (failures) say("Connected again.");
      failures = 0;
      for await (const { type, data } of events) RECEIVERS[type]?.(data);
    } catch (error) {
      if (error instanceof Refused) return refuse(error);
    }
    state("lost", "The server does not answer: it has ended or is being restarted. Trying again…");
    threads.show(null);
    await later(PATIENCE[Math.min(failures++, PATIENCE.length - 1)]);
  }
}

function begin(kept, now, lost) {
  entries.clear();
  for (const summary of kept) entries.set(summary.id, summary);
  dropped = lost ?? 0;
  detail.settings = settings;
  threads.show(now?.threads);
  state("live", "");
  write($("app"), settings.app);
  write($("version"), `asyncwsgi ${settings.version}`);
  const link = $("origin");
  if (/^https?:/.test(settings.origin)) link.href = settings.origin;
  write(link, settings.origin);
  write($("try"), `curl ${settings.origin}/`);
  draw();
}

function state(name, text) {
  document.body.dataset.state = name;
  $("banner").hidden = !text;
  write($("banner-text"), text);
}

function refuse(error) {
  localStorage.removeItem("key");
  state("refused", `Another run of the server? ${visible(error.message)}.`);
}

// --- filter, pause, clear

const filter = new Filter($("filter"), (parsed) => {
  query = parsed;
  draw();
});
$("clear-query").addEventListener("click", () => filter.set(""));

function togglePause() {
  paused = paused ? null : standing().map((entry) => entry.id);
  $("pause").setAttribute("aria-pressed", paused !== null);
  document.body.classList.toggle("paused", paused !== null);
  draw();
}

async function clear() {
  if (await attempt(() => api.post("clear"))) closeDetail();
}

function sortBy(name) {
  order = order === name ? "came" : name;
  for (const heading of document.querySelectorAll("[data-order]")) {
    heading.setAttribute("aria-pressed", heading.dataset.order === order);
  }
  $("list").scrollTop = 0;
  draw();
}

$("pause").addEventListener("click", togglePause);
$("clear").addEventListener("click", clear);
$("help-button").addEventListener("click", () => $("help").showModal());
for (const heading of document.querySelectorAll("[data-order]")) {
  heading.addEventListener("click", () => sortBy(heading.dataset.order));
}
for (const closer of document.querySelectorAll("dialog .close")) {
  closer.addEventListener("click", () => closer.closest("dialog").close());
}

// --- the keyboard

const withDetail = (action) => () => detail.entry && action(detail.entry);
const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  PageDown: () => move(list.pageSize),
  PageUp: () => move(-list.pageSize),
  Home: () => move(-Infinity),
  End: () => move(Infinity),
  Enter: () => selected && select(selected, { opens: true, focuses: true }),
  "/": () => filter.focus(),
  p: togglePause,
  r: () => selected && replay(selected),
  e: withDetail((entry) => dialog.open(entry)),
  c: () => selected && copy(selected, "curl"),
  s: withDetail((entry) => isInFlight(entry) && detail.choose("stack")),
  f: () => filter.toggle("is", "failed"),
  "[": withDetail(() => detail.step(-1)),
  "]": withDetail(() => detail.step(1)),
  "?": () => $("help").showModal(),
  Escape: () => detail.entry && closeDetail(),
};
const SCROLLING = ["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End"];

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.matches("input, textarea, select")) {
    if (key === "Escape") $("list").focus();
    if (key === "ArrowDown" && target === filter.field) $("list").focus();
    return;
  }
  // A button does its own thing on Enter, and the pane scrolls with these.
  if (key === "Enter" && target.matches("button, a, summary")) return;
  if (SCROLLING.includes(key) && $("detail").contains(target)) return;
  const action = KEYS[key];
  if (!action) return;
  event.preventDefault();
  action();
});

// A new fragment is a new key: the start line's URL was opened in this very tab.
addEventListener("hashchange", () => location.reload());

splitter($("splitter"), $("panes"));
filter.read();
if (api.key) follow();
else state("refused", "The key is missing: open the URL that the server's start line shows, with all that stands behind the #.");
