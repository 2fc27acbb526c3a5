// The language of the filter: words that a request must match, all of them.
//
//   status:500  status:4xx,5xx  status:>=400   method:POST   path:/api   type:json
//   endpoint:shop.cart   state:streaming   is:failed   duration:>100ms   size:>10kB
//   "two words"   -path:/static      anything else is looked for in method, target and endpoint

const NUMBER = /^(>=|<=|>|<|=)?(\d+(?:\.\d+)?)([a-z]*)$/i;
const SECONDS = { "": 0.001, us: 1e-6, ms: 0.001, s: 1, min: 60, h: 3600 };
const BYTES = { "": 1, b: 1, k: 1e3, kb: 1e3, m: 1e6, mb: 1e6, g: 1e9, gb: 1e9 };
const COMPARISONS = {
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  "=": (a, b) => a === b,
};

const includes = (text, part) => text.toLowerCase().includes(part.toLowerCase());

export const isInFlight = (entry) => entry.state !== "ended" && entry.state !== "lost";

const IS = {
  failed: (entry) => entry.failed,
  running: isInFlight,
  replay: (entry) => entry.replay_of != null,
  slow: (entry) => entry.duration >= 0.5,
};

function measured(value, units, field) {
  const [, comparison = ">=", digits, unit] = NUMBER.exec(value) ?? [];
  const factor = units[unit?.toLowerCase()];
  if (factor === undefined) return null;
  const [compare, limit] = [COMPARISONS[comparison], Number(digits) * factor];
  return (entry) => entry[field] != null && compare(entry[field], limit);
}

function status(value) {
  if (/^[1-5]xx$/i.test(value)) return (entry) => Math.floor(entry.status / 100) === Number(value[0]);
  const [, comparison = "=", digits, unit] = NUMBER.exec(value) ?? [];
  if (digits === undefined || unit) return null;
  return (entry) => entry.status != null && COMPARISONS[comparison](entry.status, Number(digits));
}

/** Each key makes a predicate out of a value, or null if it cannot. */
const KEYS = {
  status,
  method: (value) => (entry) => entry.method.toLowerCase() === value.toLowerCase(),
  path: (value) => (entry) => includes(entry.target.split("?")[0], value),
  type: (value) => (entry) => includes(entry.type ?? "", value),
  endpoint: (value) => (entry) => includes(entry.endpoint ?? "", value),
  state: (value) => (entry) => entry.state === value.toLowerCase(),
  is: (value) => IS[value.toLowerCase()] ?? null,
  duration: (value) => measured(value, SECONDS, "duration"),
  size: (value) => measured(value, BYTES, "response_size"),
};

const WORD = /(-?)(?:([a-z]+):)?("[^"]*"?|\S+)/gi;

/** The words of a query: {source, isNegated, key or "", values}. */
function words(text) {
  return [...text.matchAll(WORD)].map(([source, minus, key, value]) => {
    const isQuoted = value.startsWith('"');
    const isKey = key !== undefined && Object.hasOwn(KEYS, key.toLowerCase());
    const bare = isQuoted ? value.replaceAll('"', "") : value;
    const isUnknown = key !== undefined && !isKey;
    return {
      source,
      isNegated: minus === "-",
      key: isKey ? key.toLowerCase() : "",
      values: isKey && !isQuoted ? bare.split(",").filter(Boolean) : [isUnknown ? `${key}:${bare}` : bare],
    };
  });
}

function predicate({ key, values }, problems) {
  if (key === "") {
    const [part] = values;
    // What is half typed hides nothing.
    if (part.endsWith(":") && Object.hasOwn(KEYS, part.slice(0, -1).toLowerCase())) return () => true;
    return (entry) => includes(`${entry.method} ${entry.target} ${entry.endpoint ?? ""}`, part);
  }
  const made = values.map((value) => [value, KEYS[key](value)]);
  for (const [value, test] of made) if (!test) problems.push(`${key}:${value} says nothing`);
  const tests = made.map(([, test]) => test).filter(Boolean);
  return tests.length ? (entry) => tests.some((test) => test(entry)) : () => true;
}

/** What a query means: `matches` says whether a summary is shown, `problems` what was not understood. */
export function parse(text) {
  const problems = [];
  const tests = words(text).map((word) => {
    const test = predicate(word, problems);
    return word.isNegated ? (entry) => !test(entry) : test;
  });
  return { problems, matches: (entry) => tests.every((test) => test(entry)) };
}

/** Whether the query asks for this value of this key. */
export function asksFor(text, key, value) {
  return words(text).some((word) =>
    word.key === key && !word.isNegated && word.values.includes(value));
}

/** The query with this value of this key added, or taken out if it was there. */
export function toggled(text, key, value) {
  let isDone = false;
  const sources = words(text).map((word) => {
    if (word.key !== key || word.isNegated || isDone) return word.source;
    isDone = true;
    const rest = word.values.filter((other) => other !== value);
    const values = rest.length < word.values.length ? rest : [...rest, value];
    return values.length ? `${key}:${values.join(",")}` : "";
  });
  if (!isDone) sources.push(`${key}:${value}`);
  return sources.filter(Boolean).join(" ");
}
