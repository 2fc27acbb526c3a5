// Tracebacks: the user's own frames first, each with a link that opens the editor.

import { el } from "./build.js";
import { count, visible } from "./format.js";

/** How a file is called here: by its place in the project, or in the library that it belongs to. */
function shortName(file, directory) {
  const [, library] = /[/\\](?:site|dist)-packages[/\\](.*)$/.exec(file) ?? [];
  if (library) return library;
  const [, own] = isBelow(file, directory) ? [] : /[/\\](asyncwsgi[/\\].*)$/.exec(file) ?? [];
  if (own) return own;
  const [, standard] = /[/\\]lib[/\\]python3[^/\\]*[/\\](.*)$/.exec(file) ?? [];
  if (standard) return standard;
  return isBelow(file, directory) ? file.slice(directory.length + 1) : file;
}

const isBelow = (file, directory) => Boolean(directory) && file.startsWith(directory) && /^[/\\]/.test(file.slice(directory.length));

/** A link that opens `file:line` in the editor of the settings; plain text without one. */
export function placeLink({ editor, directory }, file, line) {
  const text = visible(`${shortName(file, directory)}:${line}`);
  const whole = visible(`${file}:${line}`);
  // An absolute path alone: what is none is no file (<string>).
  const isFile = /^([/\\]|[a-z]:)/i.test(file);
  const path = file.split("/").map(encodeURIComponent).join("/");
  const url = isFile ? editor.replaceAll("{path}", path).replaceAll("{line}", line) : "";
  // A template names an editor; whatever would run in this page is none.
  const isEditor = url && !/^\s*(javascript|data|vbscript|blob):/i.test(url);
  return isEditor
    ? el("a.place", { href: url, title: `Open ${whole} in the editor` }, text)
    : el("span.place", { title: whole }, text);
}

export function traceback(entry, settings) {
  const frames = entry.frames ?? [];
  const own = frames.filter((frame) => frame.is_own).reverse();
  const first = own.length ? own : frames.slice(-1);
  return el("div.traceback", {},
    el("pre.exception.bad", {}, exceptionOf(entry.traceback)),
    debuggerLink(entry, settings),
    first.length > 0 && el("ol.frames", { "aria-label": "Own frames, innermost first" },
      first.map((frame) => frameItem(frame, settings))),
    frames.length > first.length && el("details", {},
      el("summary", {}, `All ${count(frames.length, "frame")}, outermost first`),
      el("ol.frames", {}, frames.map((frame) => frameItem(frame, settings)))),
    el("details", { open: !frames.length }, el("summary", {}, "As it was logged"),
      el("pre", {}, linked(entry.traceback, settings))));
}

function frameItem(frame, settings) {
  return el("li", { class: frame.is_own ? "own" : "foreign" },
    el("div", {}, el("strong", {}, visible(frame.function)), " ", placeLink(settings, frame.file, frame.line)),
    frame.source && el("pre", {}, frame.source));
}

/** The exception itself: everything from the last line that is not indented and names one. */
function exceptionOf(text) {
  const lines = (text ?? "").trimEnd().split("\n");
  const last = lines.findLastIndex((line) => /^\s/.test(line));
  return lines.slice(last + 1).join("\n") || lines.at(-1);
}

/** Werkzeug's debugger, on the application's own origin and nowhere else. */
function debuggerLink(entry, settings) {
  const path = entry.debugger;
  if (typeof path !== "string" || !/^\/(?![/\\])/.test(path) || !/^https?:/.test(settings.origin)) return null;
  return el("p", {}, el("a", { href: settings.origin + path, target: "_blank", rel: "noopener noreferrer" },
    "Open the debugger"));
}

const PLACE = /File "([^"\n]+)", line (\d+)/g;

function linked(text, settings) {
  const parts = [];
  let end = 0;
  for (const match of (text ?? "").matchAll(PLACE)) {
    parts.push(text.slice(end, match.index), "File ", placeLink(settings, match[1], Number(match[2])));
    end = match.index + match[0].length;
  }
  return [...parts, (text ?? "").slice(end)];
}

const FRAME = /^ *File "([^"\n]+)", line (\d+)(?:, in ([^\n]*))?(?:\n {4,}([^\n]*))?/gm;

/** The stack of a request that has not ended, innermost first; as it is if it is of no known form. */
export function stack(text, settings) {
  const frames = [...text.matchAll(FRAME)].map(([, file, line, name, source]) => ({
    file,
    line: Number(line),
    function: name ?? "",
    source,
    is_own: isBelow(file, settings.directory) && !/[/\\](?:site|dist)-packages[/\\]/.test(file),
  }));
  if (!frames.length) return [el("pre", {}, text)];
  return [
    el("ol.frames", { "aria-label": "Stack, innermost first" }, frames.reverse().map((frame) => frameItem(frame, settings))),
    el("details", {}, el("summary", {}, "As Python writes it"), el("pre", {}, linked(text, settings))),
  ];
}
