// A list of any length of which only the rows that can be seen exist, with rows of one height.

import { place } from "./build.js";

const MARGIN = 6; // rows above and below, so that a quick scroll shows no gap

export class VirtualList {
  #rows = []; // a ring: the row at index i is #rows[i % #rows.length]
  #items = [];
  #active = null;

  /**
   * @param viewport the element that scrolls; holds `canvas`, which is as high as all rows
   * @param make () => a new row; @param fill (row, item, index) writes an item into one
   */
  constructor(viewport, canvas, { rowHeight, make, fill, select }) {
    Object.assign(this, { viewport, canvas, rowHeight, make, fill });
    viewport.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(viewport);
    canvas.addEventListener("click", (event) => {
      const row = event.target.closest("[aria-rowindex]");
      if (row) select(this.#items[row.index]);
    });
  }

  get items() {
    return this.#items;
  }

  /** Show other items. Who has scrolled keeps seeing the same ones. */
  show(items) {
    const anchor = this.viewport.scrollTop > 0 ? this.#items[this.#first()] : undefined;
    const before = this.#first();
    this.#items = items;
    place(this.canvas, { height: `${items.length * this.rowHeight}px` });
    this.viewport.setAttribute("aria-rowcount", items.length);
    if (anchor !== undefined) {
      const after = items.findIndex((item) => item.id === anchor.id);
      if (after >= 0 && after !== before) this.viewport.scrollTop += (after - before) * this.rowHeight;
    }
    this.draw();
  }

  activate(id) {
    this.#active = id;
    this.draw();
  }

  /** Scroll no further than it takes to see the item. */
  reveal(index) {
    const [top, bottom] = [index * this.rowHeight, (index + 1) * this.rowHeight];
    const { scrollTop, clientHeight } = this.viewport;
    if (top < scrollTop) this.viewport.scrollTop = top;
    else if (bottom > scrollTop + clientHeight) this.viewport.scrollTop = bottom - clientHeight;
    this.draw();
  }

  /** How many rows can be seen at a time. */
  get pageSize() {
    return Math.max(1, Math.floor(this.viewport.clientHeight / this.rowHeight) - 1);
  }

  #first() {
    return Math.floor(this.viewport.scrollTop / this.rowHeight);
  }

  draw() {
    const wanted = Math.ceil(this.viewport.clientHeight / this.rowHeight) + 2 * MARGIN;
    this.#resize(wanted);
    const begin = Math.max(0, Math.min(this.#first() - MARGIN, this.#items.length - wanted));
    let active = null;
    for (let slot = 0; slot < this.#rows.length; slot++) {
      // The one index from `begin` on that has this slot of the ring.
      const index = begin + ((slot - begin) % wanted + wanted) % wanted;
      const [row, item] = [this.#rows[slot], this.#items[index]];
      row.hidden = item === undefined;
      if (item === undefined) continue;
      if (row.index !== index) {
        row.index = index;
        row.setAttribute("aria-rowindex", index + 1);
        place(row, { transform: `translateY(${index * this.rowHeight}px)` });
      }
      const isActive = item.id === this.#active;
      row.setAttribute("aria-selected", isActive);
      if (isActive) active = row.id;
      this.fill(row, item, index);
    }
    if (active) this.viewport.setAttribute("aria-activedescendant", active);
    else this.viewport.removeAttribute("aria-activedescendant");
  }

  #resize(wanted) {
    if (this.#rows.length === wanted) return;
    while (this.#rows.length > wanted) this.#rows.pop().remove();
    while (this.#rows.length < wanted) {
      const row = this.make();
      row.id = `row-${this.#rows.length}`;
      this.#rows.push(row);
      this.canvas.append(row);
    }
    for (const row of this.#rows) row.index = -1;
  }
}
