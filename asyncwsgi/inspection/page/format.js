// How numbers, times and foreign text are written.

export function duration(seconds) {
  if (seconds == null) return "";
  const ms = seconds * 1000;
  if (ms < 9.995) return `${ms.toFixed(2)} ms`;
  if (ms < 99.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (seconds < 59.995) return `${seconds.toFixed(2)} s`;
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = `${String(whole % 60).padStart(2, "0")} s`;
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min ${rest}`;
}

/** An age that counts: tenths of a second, so that it does not flicker. */
export function age(seconds) {
  return seconds < 60 ? `${Math.max(seconds, 0).toFixed(1)} s` : duration(seconds);
}

export function size(bytes) {
  if (bytes == null) return "";
  if (bytes < 1000) return `${bytes} B`;
  let [value, unit] = [bytes, "B"];
  for (unit of ["kB", "MB", "GB", "TB"]) {
    value /= 1000;
    if (value < 999.5) break;
  }
  return `${value.toFixed(value < 9.95 ? 1 : 0)} ${unit}`;
}

export function clock(seconds, digits = 0) {
  const date = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return digits ? `${time}.${String(date.getMilliseconds()).padStart(3, "0")}` : time;
}

/** Where something stands on a timeline, with its sign. */
export function offset(seconds) {
  return seconds < 0 ? `−${duration(-seconds)}` : duration(seconds);
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

// Controls would vanish, and those of Unicode's bidirectional algorithm would turn text around, so
// that a path looks like another one.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** One line of foreign text, in which nothing is hidden. */
export function visible(text) {
  return String(text).replace(HIDDEN, (character) =>
    `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);
}
