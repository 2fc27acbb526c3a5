// The bar of the filter. Its text is all there is to it: buttons and lists write into that, and show it.

import { button, el, write } from "./build.js";
import { asksFor, parse, toggled } from "./query.js";

const CHIPS = [
  ["status", "2xx", "2xx"], ["status", "3xx", "3xx"], ["status", "4xx", "4xx"], ["status", "5xx", "5xx"],
  ["is", "failed", "failed"], ["is", "running", "in flight"], ["is", "slow", "slow"],
];
const LISTS = {
  method: ["GET", "POST", "PUT", "PATCH", "DELETE"],
  type: ["json", "html", "css", "javascript", "image", "event-stream"],
};

export class Filter {
  /** @param change is called with what the text means, whenever it has changed */
  constructor(bar, change) {
    this.change = change;
    this.field = bar.querySelector("#query");
    this.problems = bar.querySelector("#problems");
    this.chips = CHIPS.map(([key, value, text]) =>
      button(text, `${key}:${value}`, () => this.toggle(key, value), { "data-key": key, "data-value": value }));
    bar.querySelector("#chips").append(...this.chips);
    this.lists = Object.keys(LISTS).map((key) => bar.querySelector(`#${key}`));
    for (const list of this.lists) {
      list.append(...LISTS[list.id].map((value) => el("option", { value }, value)));
      list.addEventListener("change", () => this.#choose(list.id, list.value));
    }
    this.field.addEventListener("input", () => this.read());
  }

  set(text) {
    this.field.value = text;
    this.read();
  }

  toggle(key, value) {
    this.set(toggled(this.field.value, key, value));
  }

  focus() {
    this.field.select();
  }

  #choose(key, value) {
    const old = LISTS[key].filter((other) => asksFor(this.field.value, key, other));
    const rest = old.reduce((text, other) => toggled(text, key, other), this.field.value);
    this.set(value ? toggled(rest, key, value) : rest);
  }

  read() {
    const text = this.field.value;
    const query = parse(text);
    write(this.problems, query.problems.join("; "));
    for (const chip of this.chips) chip.setAttribute("aria-pressed", asksFor(text, chip.dataset.key, chip.dataset.value));
    for (const list of this.lists) list.value = LISTS[list.id].find((value) => asksFor(text, list.id, value)) ?? "";
    this.change(query);
  }
}
