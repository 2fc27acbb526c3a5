// How busy the worker threads are: a square for each, and what waits.

import { el, write } from "./build.js";

const [FEW_SQUARES, MOST_SQUARES] = [16, 64];

export class Threads {
  constructor(holder, meter, text) {
    Object.assign(this, { holder, meter, text });
  }

  /** @param threads {busy, limit, queued, parked}; nothing is known without it */
  show(threads) {
    this.holder.hidden = !threads;
    if (!threads) return;
    const { busy = 0, limit = 0, queued = 0, parked = 0 } = threads;
    this.#square(busy, limit <= MOST_SQUARES ? limit : 0);
    const parts = [`${busy} of ${limit} threads busy`, queued && `${queued} queued`, parked && `${parked} parked`];
    write(this.text, parts.filter(Boolean).join(" · "));
    this.holder.classList.toggle("full", limit > 0 && busy >= limit);
  }

  #square(busy, squares) {
    const { meter } = this;
    while (meter.children.length > squares) meter.lastChild.remove();
    while (meter.children.length < squares) meter.append(el("i"));
    meter.classList.toggle("many", squares > FEW_SQUARES);
    [...meter.children].forEach((square, i) => square.classList.toggle("busy", i < busy));
  }
}
