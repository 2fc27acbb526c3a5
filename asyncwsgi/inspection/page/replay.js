// The dialog in which a request is changed before it is sent again.

import { base64Of, bytesOf, textOf } from "./bodies.js";
import { visible } from "./format.js";

// The server sets these itself.
const FRAMING = ["content-length", "transfer-encoding", "connection", "host"];

export class ReplayDialog {
  #entry = null;
  #body = "";

  /** @param send (request) => promise of whether it was sent; @param say shows an error */
  constructor(dialog, send) {
    this.dialog = dialog;
    const field = (name) => dialog.querySelector(`[name=${name}]`);
    this.fields = { method: field("method"), target: field("target"), headers: field("headers"), body: field("body") };
    this.note = dialog.querySelector(".note");
    this.problem = dialog.querySelector(".problem");
    this.send = send;
    this.sender = dialog.querySelector(".send");
    this.sender.addEventListener("click", () => this.#submit());
    dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#submit();
    });
  }

  open(entry) {
    this.#entry = entry;
    const bytes = bytesOf(entry.request_body?.data);
    const text = textOf(bytes);
    this.#body = text ?? "";
    this.fields.method.value = entry.method;
    this.fields.target.value = entry.target;
    this.fields.headers.value = entry.request_headers
      .filter(([name]) => !FRAMING.includes(name.toLowerCase()))
      .map(([name, value]) => `${name}: ${value}`)
      .join("\n");
    this.fields.body.value = this.#body;
    this.fields.body.disabled = text === null;
    this.note.textContent = noteOn(entry, text);
    this.problem.textContent = "";
    this.dialog.showModal();
    this.fields.target.focus();
  }

  async #submit() {
    if (this.sender.disabled) return;
    this.sender.disabled = true;
    try {
      await this.send(this.#request());
      this.dialog.close();
    } catch (error) {
      this.problem.textContent = error.message;
    } finally {
      this.sender.disabled = false;
    }
  }

  #request() {
    const { method, target, headers, body } = this.fields;
    const request = {
      id: this.#entry.id,
      method: method.value.trim(),
      target: target.value.trim(),
      headers: headers.value.split("\n").filter((line) => line.trim()).map(headerOf),
    };
    // A field of text has no line ends but \n; what nobody has touched is sent as it came.
    const isTouched = body.value !== this.#body.replace(/\r\n?/g, "\n");
    if (!body.disabled && isTouched) request.body = base64Of(new TextEncoder().encode(body.value));
    return request;
  }
}

function headerOf(line) {
  const colon = line.indexOf(":");
  if (colon < 1) throw new Error(`“${visible(line)}” is no header; write it as Name: value`);
  return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}

function noteOn(entry, text) {
  const notes = [];
  if (text === null) notes.push("The body is no text: it is sent as it came.");
  if (entry.request_body?.is_cut) notes.push("Only the beginning of the body was kept.");
  if (entry.request_headers.some(([, value]) => value.includes("***"))) {
    notes.push("Headers whose values are masked (***) are left out.");
  }
  return notes.join(" ");
}
