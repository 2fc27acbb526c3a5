// The life of one request: what passed between its marks, and the spans within, on one scale.

import { el, place } from "./build.js";
import { count, duration, offset, visible } from "./format.js";

// What goes on until a mark is reached, and whose time that is. Marks come in this order, but for
// those of a response, which may begin before the application has torn down.
const UNTIL = {
  accepted: ["", "wire"],
  head: ["head is read", "wire"],
  body: ["body is read", "wire"],
  thread: ["waits for a thread", "wait"],
  application: ["thread takes it up", "wait"],
  context_pushed: ["context is pushed", "app"],
  matched: ["URL is matched", "app"],
  view: ["before the view", "app"],
  after_request: ["view", "view"],
  teardown: ["after-request, teardown", "app"],
  first_byte: ["response is begun", "app"],
  last_byte: ["response is sent", "send"],
  closed: ["exchange is closed", "send"],
};
// What it is if marks between are missing: nobody tells when a view begins that functions run before,
// one that raises has nothing after it, and a plain application has none of these marks.
const FROM = {
  "matched until after_request": ["before the view, and view", "view"],
  "matched until teardown": ["before the view, and view", "view"],
  "view until teardown": ["view", "view"],
  "view until first_byte": ["view", "view"],
  "first_byte until teardown": ["body is made and sent", "send"],
  "teardown until context_pushed": ["context is pushed again", "app"],
  "application until first_byte": ["application", "view"],
  "application until closed": ["application", "view"],
};
const SPANS = { sql: "SQL", loop: "on the loop", wait: "waits" };
const NOW = { waiting: ["waits for a thread", "wait"], running: ["runs", "view"], streaming: ["streams", "send"] };
const KEPT = -0.05; // seconds: a head takes no longer to read, so the connection waited for it
const LEAST = 0.000_5; // seconds: a scale of less would blow up noise

/** The rows of a timeline: {label, kind, at, seconds, text, isOpen}, and the bounds of its scale. */
export function layout(entry, now) {
  const marks = [...entry.marks].sort((one, other) => one.at - other.at);
  const rows = [];
  let before = null;
  for (const { name, at } of marks) {
    const [label, kind] = FROM[`${before?.name} until ${name}`] ?? UNTIL[name] ?? [name, "app"];
    // A kept connection was accepted long before, and then did nothing for this request.
    if (before !== null && name !== "head") {
      rows.push({ label, kind, mark: name, at: before.at, seconds: at - before.at });
    }
    before = { name, at };
  }
  for (const { kind, at, seconds, text } of entry.spans) {
    rows.push({ label: SPANS[kind] ?? kind, kind, at, seconds, text, isSpan: true });
  }
  const open = NOW[entry.state];
  if (open) {
    const at = before?.at ?? 0;
    rows.push({ label: open[0], kind: open[1], at, seconds: Math.max(0, now - at), isOpen: true });
  }
  // Stable, so that a span which begins with a phase stands below it.
  rows.sort((one, other) => one.at - other.at);
  const ends = rows.map((row) => row.at + row.seconds);
  const begin = Math.min(0, ...rows.map((row) => row.at));
  return { rows, begin, end: Math.max(begin + LEAST, entry.duration ?? 0, ...ends) };
}

export function timeline(entry, now) {
  const { rows, begin, end } = layout(entry, now);
  const share = (seconds) => `${(100 * seconds) / (end - begin)}%`;
  const accepted = entry.marks.find((mark) => mark.name === "accepted");
  return el("div.timeline", {},
    el("div.axis", { "aria-hidden": "true" }, ticks(begin, end).map((at) =>
      place(el("span", {}, tick(at)), { left: share(at - begin) }))),
    el("table", { "aria-label": "Timeline" }, el("tbody", {}, rows.map((row) => line(row, begin, share)))),
    accepted?.at < KEPT && el("p.quiet", {},
      `The connection was accepted ${duration(-accepted.at)} before the head was complete.`),
    steps(entry.spans),
    statements(entry.spans));
}

function line(row, begin, share) {
  const bar = place(el("i.bar", { "data-kind": row.kind, "data-open": row.isOpen }), {
    left: share(row.at - begin),
    width: share(row.seconds),
  });
  const title = row.mark ? `${row.label}, until the mark “${row.mark}”` : oneLine(row.text || row.label);
  return el("tr", { class: row.isSpan ? "span" : null, title },
    el("th", { scope: "row" }, row.label, row.text && el("code", {}, oneLine(row.text))),
    el("td.number", {}, offset(row.at)),
    el("td.track", {}, bar),
    el("td.number", {}, row.isOpen ? `${duration(row.seconds)}…` : duration(row.seconds)));
}

const oneLine = (text) => visible(text.trim().replace(/\s+/g, " "));

/** Three to six round places on the scale. */
function ticks(begin, end) {
  const rough = (end - begin) / 4;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => size >= rough);
  const places = [];
  for (let at = Math.ceil(begin / step) * step; at <= end; at += step) places.push(at);
  return places;
}

function tick(at) {
  const [value, unit] = Math.abs(at) < 1 ? [at * 1000, "ms"] : [at, "s"];
  return `${Number(value.toPrecision(3))}${value ? ` ${unit}` : ""}`;
}

const total = (spans) => duration(spans.reduce((sum, span) => sum + span.seconds, 0));

/** How long the coroutines of a request held the event loop, and how long they waited. */
function steps(spans) {
  const [held, waited] = ["loop", "wait"].map((kind) => spans.filter((span) => span.kind === kind));
  if (!held.length) return null;
  return el("p.quiet", {}, `On the event loop ${total(held)}, waiting ${total(waited)}.`);
}

/** The statements of SQL in full: a row of the timeline shows their beginnings. */
function statements(spans) {
  const sql = spans.filter((span) => span.kind === "sql");
  if (!sql.length) return null;
  return [
    el("h3", {}, `SQL: ${count(sql.length, "statement")}, ${total(sql)}`),
    el("ol.statements", {}, sql.map((span) =>
      el("li", {}, el("span.number.quiet", {}, duration(span.seconds)), el("pre", {}, span.text.trim())))),
  ];
}
