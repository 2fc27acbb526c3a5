// One row of the list: a request at a glance.

import { el, place, write } from "./build.js";
import { statusClass, statusText } from "./detail.js";
import { age, clock, duration, size, visible } from "./format.js";
import { isInFlight } from "./query.js";

const DECADES = { from: 1e-4, count: 5 }; // seconds: bars reach from 0.1 ms to 10 s

export function makeRow() {
  const cells = ["status", "method", "target", "type", "size", "duration", "life", "time"];
  const row = el("div.row", { role: "row" }, cells.map((name) => el(`span.${name}`, { role: "gridcell" })));
  row.cells = Object.fromEntries(cells.map((name, i) => [name, row.children[i]]));
  row.parts = ["wait", "view", "send"].map((kind) => el("i", { "data-kind": kind }));
  row.cells.life.append(el("span.life-bar", {}, row.parts));
  return row;
}

export function fillRow(row, entry) {
  const { cells } = row;
  write(cells.status, statusText(entry));
  cells.status.className = `status ${statusClass(entry) ?? ""}`;
  write(cells.method, visible(entry.method));
  write(cells.target, visible(entry.target));
  cells.target.title = entry.endpoint ? `${visible(entry.target)}\n${visible(entry.endpoint)}` : visible(entry.target);
  write(cells.type, shortType(entry));
  write(cells.size, entry.status == null ? "" : size(entry.response_size));
  write(cells.time, clock(entry.began_at));
  row.classList.toggle("failed", Boolean(entry.failed));
  row.classList.toggle("in-flight", isInFlight(entry));
  row.classList.toggle("replay", entry.replay_of != null);
  fillLife(row, entry);
}

/** The bar: as long as the logarithm of the duration, in shares of who took the time. */
function fillLife(row, entry) {
  const isOpen = isInFlight(entry);
  const total = isOpen ? Date.now() / 1000 - entry.began_at : entry.duration;
  write(row.cells.duration, isOpen ? age(total) : duration(total));
  const length = Math.log10(Math.max(total ?? 0, DECADES.from) / DECADES.from) / DECADES.count;
  place(row.cells.life.firstChild, { width: `${Math.min(Math.max(length, 0.01), 1) * 100}%` });
  const waited = entry.thread_at ?? (entry.state === "waiting" ? total : 0);
  const answered = entry.first_byte_at ?? total;
  // Shares that sum up to less than 1 would leave a part of the bar empty (CSS Flexbox 9.7).
  [waited, answered - waited, total - answered].forEach((seconds, i) =>
    place(row.parts[i], { "flex-grow": String((100 * Math.max(seconds || 0, 0)) / (total || 1)) }));
}

/** A media type without what all have. */
function shortType({ type }) {
  return visible((type ?? "").replace(/^(application|text)\/(x-)?/, "").replace("x-www-form-urlencoded", "form"));
}
