// Elements out of code. Whatever an application sent becomes text nodes and attributes, never markup.

/** An element: `tag` is "name.class.class", children are elements, strings, arrays of them or null. */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  element.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Geometry goes by way of the CSSOM, since the policy allows no style attributes. */
export function place(element, styles) {
  for (const [property, value] of Object.entries(styles)) element.style.setProperty(property, value);
  return element;
}

/** Write text only where it differs, so that a row that is redrawn costs nothing. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A table of two columns, whose keys are its row headers. */
export function pairs(rows, label) {
  return el(
    "table.pairs",
    { "aria-label": label },
    el("tbody", {}, rows.map(([name, value]) =>
      el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)))),
  );
}

export function button(text, title, click, more = {}) {
  return el("button", { type: "button", title, click, ...more }, text);
}
