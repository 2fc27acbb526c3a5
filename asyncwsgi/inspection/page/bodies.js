// Bodies and headers, as text. Only four kinds of picture are shown as one, by way of data: URLs.

import { button, el, pairs } from "./build.js";
import { count, size, visible } from "./format.js";

const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const LARGEST_INFLATED = 1_000_000;

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64 ?? ""), (character) => character.charCodeAt(0));
}

export function base64Of(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

/** The text of UTF-8; null if it is none. What was cut may end in the middle of a character. */
export function textOf(bytes, isCut = false) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: isCut });
  } catch {
    return null;
  }
}

export function header(headers, name) {
  return (headers ?? []).find(([key]) => key.toLowerCase() === name)?.[1] ?? "";
}

export function headerTable(headers, label) {
  if (!headers?.length) return el("p.quiet", {}, "None.");
  return pairs(headers.map(([name, value]) => [visible(name), visible(value)]), label);
}

export function queryTable(target) {
  const query = target.split("?").slice(1).join("?");
  return query ? [el("h3", {}, "Query"), formTable(query, "Query")] : null;
}

function formTable(text, label) {
  return pairs([...new URLSearchParams(text)].map(([key, value]) => [visible(key), value]), label);
}

/** A body with the ways to look at it. `views` remembers which way was chosen. */
export function body(kept, headers, views, key) {
  if (!kept || !kept.size) return el("p.quiet", {}, "No body.");
  const type = header(headers, "content-type");
  const holder = el("div.body");
  const bytes = bytesOf(kept.data);
  const encoding = header(headers, "content-encoding").trim().toLowerCase();
  holder.append(el("p.quiet", {}, "…"));
  inflated(bytes, encoding).then((plain) => {
    const ways = waysToShow(plain ?? bytes, plain ? type : "", kept.is_cut);
    holder.replaceChildren(...tabs(ways, views, key), note(kept, type, encoding, plain));
  });
  return holder;
}

function note(kept, type, encoding, plain) {
  const parts = [visible(type) || "no Content-Type", size(kept.size)];
  if (encoding) parts.push(plain ? `${visible(encoding)}, unpacked here` : `${visible(encoding)}, still packed`);
  if (kept.is_cut) parts.push(`the first ${size(bytesOf(kept.data).length)} are kept`);
  return el("p.quiet", {}, parts.join(" · "));
}

function tabs(ways, views, key) {
  const content = el("div.content");
  const names = Object.keys(ways);
  const buttons = names.map((name) => button(name, `Show as ${name}`, () => show(name)));
  const show = (name, isChosen = true) => {
    if (isChosen) views.set(key, name);
    content.replaceChildren(ways[name]());
    buttons.forEach((one, i) => one.setAttribute("aria-pressed", names[i] === name));
  };
  const chosen = views.get(key);
  show(names.includes(chosen) ? chosen : names[0], false);
  return [names.length > 1 && el("div.ways", {}, buttons), content].filter(Boolean);
}

/** How these bytes can be shown, best first: name to what makes the element. */
function waysToShow(bytes, contentType, isCut) {
  const type = contentType.split(";")[0].trim().toLowerCase();
  const ways = {};
  const text = textOf(bytes, isCut);
  if (PICTURES.includes(type) && !isCut) ways.picture = () => picture(bytes, type);
  if (text !== null) {
    const value = parsedJson(text, type);
    if (value !== undefined) ways.JSON = () => json(value);
    if (type === "application/x-www-form-urlencoded") ways.form = () => formTable(text, "Form");
  }
  if (type === "multipart/form-data") {
    const parts = multipart(bytes, contentType);
    if (parts.length) ways.form = () => partTable(parts);
  }
  // Most of what is no UTF-8 is not text at all.
  const asText = () => el("pre", {}, text ?? new TextDecoder().decode(bytes));
  const asHex = () => el("pre.hex", {}, hex(bytes));
  return text === null ? { ...ways, hex: asHex, text: asText } : { ...ways, text: asText, hex: asHex };
}

function picture(bytes, type) {
  return el("img", { src: `data:${type};base64,${base64Of(bytes)}`, alt: `The picture, ${size(bytes.length)}` });
}

function parsedJson(text, type) {
  if (!/[/+]json$/.test(type) && !/^\s*[{[]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d[\d.eE+-]*/g;

function json(value) {
  const text = JSON.stringify(value, null, 2);
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    const [all, string, colon, word] = match;
    const kind = string ? (colon ? "key" : "string") : word ? "word" : "number";
    parts.push(text.slice(end, match.index), el(`span.${kind}`, {}, string ?? all), colon ?? "");
    end = match.index + all.length;
  }
  return el("pre.json", {}, parts, text.slice(end));
}

/** The parts of a form (RFC 7578): {name, filename, type, bytes}; the last may be cut. */
function multipart(bytes, contentType) {
  const boundary = /boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  if (!boundary) return [];
  // An encoding with one character for each byte, from which the byte can be had again (the label
  // "latin1" is windows-1252 to browsers).
  const text = new TextDecoder("x-user-defined").decode(bytes);
  return text.split(`--${boundary[1] ?? boundary[2]}`).slice(1).flatMap((part) => {
    const [head, ...rest] = part.replace(/^\r\n/, "").split("\r\n\r\n");
    const disposition = /content-disposition:[^\r\n]*/i.exec(head)?.[0];
    if (!disposition) return [];
    const content = rest.join("\r\n\r\n").replace(/\r\n$/, "");
    return [{
      name: utf8(/[; ]name="([^"]*)"/i.exec(disposition)?.[1] ?? ""),
      filename: utf8(/filename="([^"]*)"/i.exec(disposition)?.[1] ?? ""),
      type: /content-type:\s*([^\r\n]*)/i.exec(head)?.[1] ?? "",
      bytes: bytesIn(content),
    }];
  });
}

const bytesIn = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff);
const utf8 = (text) => new TextDecoder().decode(bytesIn(text));

function partTable(parts) {
  return pairs(parts.map((part) => [
    visible(part.name),
    part.filename
      ? [el("strong", {}, visible(part.filename)), " ", el("span.quiet", {}, `${visible(part.type)} · ${size(part.bytes.length)}`)]
      : textOf(part.bytes) ?? count(part.bytes.length, "byte"),
  ]), "Form");
}

function hex(bytes) {
  const lines = [];
  for (let i = 0; i < bytes.length; i += 16) {
    const row = [...bytes.subarray(i, i + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${i.toString(16).padStart(6, "0")}  ${digits.padEnd(47)}  ${text}`);
  }
  return lines.join("\n");
}

/** What is below a content coding, as far as it goes; null if that cannot be told. */
async function inflated(bytes, encoding) {
  if (!encoding || encoding === "identity") return bytes;
  if (!["gzip", "deflate"].includes(encoding)) return null;
  const blocks = [];
  let total = 0;
  try {
    const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(encoding)).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      blocks.push(value);
      total += value.length;
      // A little that was sent may unpack into very much.
      if (total > LARGEST_INFLATED) {
        await reader.cancel();
        break;
      }
    }
  } catch {
    // What was cut ends too early, and is good until there.
  }
  return total ? new Uint8Array(await new Blob(blocks).arrayBuffer()) : null;
}
