// The line between two panes, which the mouse and the arrow keys move; where it stands is remembered.

import { place } from "./build.js";

const KEPT = "list-share";
const [LEAST, MOST, STEP] = [20, 80, 2]; // percent of the width that the list has

export function splitter(handle, panes) {
  const move = (share) => {
    const value = Math.min(Math.max(share, LEAST), MOST);
    place(panes, { "--list-share": `${value}%` });
    handle.setAttribute("aria-valuenow", Math.round(value));
    localStorage.setItem(KEPT, value);
  };
  const share = () => Number(localStorage.getItem(KEPT)) || 45;
  move(share());
  handle.setAttribute("aria-valuemin", LEAST);
  handle.setAttribute("aria-valuemax", MOST);
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const { left, width } = panes.getBoundingClientRect();
    move((100 * (event.clientX - left)) / width);
  });
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
    if (step) move(share() + step);
  });
}
