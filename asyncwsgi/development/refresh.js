// Loads this page again when what it shows has changed; see asyncwsgi/development/refresh.py.
//
// The server tells a state, {code, files}, of which larger numbers are newer, and `data-state` has
// the one in which this page was made. Of all tabs one holds a lock and listens to the server, since
// a browser opens six connections to a host at most, and tells the others. If it is closed, the lock
// goes to another one.
"use strict";
(() => {
  const MARK = Symbol.for("asyncwsgi refresh");
  if (window[MARK]) return; // a script has put the page's own HTML into it once more
  window[MARK] = true;
  const script = document.currentScript;
  if (self.origin === "null") return; // a sandboxed frame: nothing is its own
  const url = new URL("refresh", script.src).href;
  const [code, files] = script.dataset.state.split(".").map(Number);
  const own = { code, files };
  // Frames share a storage with their page.
  const SCROLL = `asyncwsgi scroll ${location.href}`;
  const LOADED = `asyncwsgi loaded ${location.href}`;
  const MOST_RETRIES = 4;
  // Milliseconds between attempts to reach a server; the next one may be about to serve.
  const SHORTEST_PAUSE = 50;
  const LONGEST_PAUSE = 5000;

  let awaited = null; // the state for which this page is about to be loaded again
  let told = null; // what the server has said last, if this tab listens to it
  let source = null;
  let channel = null;
  let release = null; // gives the lock to another tab
  let pause = SHORTEST_PAUSE;
  let timer = 0;

  // What changed.

  function hear(news) {
    const isNewer = news.code > own.code || (news.code === own.code && news.files > own.files);
    if (!isNewer) return;
    // Only who knows all changes but the last can take up that one alone.
    const isNext = news.code === own.code && news.files === own.files + 1;
    if (isNext && news.stylesheets.length && swap(news.stylesheets)) own.files = news.files;
    else reload(news);
  }

  // What comes may be as old as this page: made by a process that is about to be replaced, or kept by
  // some cache. So it is tried again, but not for ever.
  function reload(news) {
    const wanted = JSON.stringify([news.code, news.files]);
    if (wanted === awaited) return;
    awaited = wanted;
    const [before, count] = JSON.parse(remembered(LOADED) || "[]");
    const attempts = before === wanted ? count : 0;
    if (attempts > MOST_RETRIES) return;
    const load = () => {
      remember(LOADED, JSON.stringify([wanted, attempts + 1]));
      // What is remembered still is the place in a page that was higher than this one.
      if (!remembered(SCROLL)) remember(SCROLL, JSON.stringify([scrollX, scrollY]));
      location.reload();
    };
    if (attempts) setTimeout(load, 1000 * 2 ** (attempts - 1));
    else load();
  }

  // A stylesheet that has changed is loaded beside the old one, which goes when it is there: so
  // nothing is shown without it, and the page keeps its state.
  function swap(names) {
    const links = [...document.querySelectorAll('link[rel~="stylesheet" i][href]')].filter(
      (link) => new URL(link.href).origin === location.origin && !link.dataset.refreshed,
    );
    const isNamed = (link) => names.includes(decodeURI(new URL(link.href).pathname).split("/").pop());
    const named = links.filter(isNamed);
    // One that no link names may be imported by another, or go by another name.
    const chosen = named.length === names.length ? named : links;
    for (const link of chosen) {
      const next = link.cloneNode();
      const href = new URL(link.href);
      href.searchParams.set("_refresh", Date.now());
      next.href = href.href;
      link.dataset.refreshed = "yes";
      next.onload = () => link.remove();
      next.onerror = () => {
        next.remove();
        delete link.dataset.refreshed;
      };
      link.after(next);
    }
    return chosen.length > 0;
  }

  // Browsers keep the place of a page that is loaded again, but not if another one, such as that
  // of an error, was there meanwhile; nor if the page itself is made later, by a script. They must
  // not try while it is done here, since they do so after the page has been loaded, too.
  function scrollBack() {
    const place = JSON.parse(remembered(SCROLL));
    if (!place) return;
    const before = history.scrollRestoration;
    history.scrollRestoration = "manual";
    const scroll = () => {
      if (document.documentElement.scrollHeight - innerHeight >= place[1]) {
        scrollTo({ left: place[0], top: place[1], behavior: "instant" });
        forget(SCROLL);
      }
      setTimeout(() => (history.scrollRestoration = before));
    };
    if (document.readyState === "complete") scroll();
    else addEventListener("load", scroll);
  }

  // The stream.

  function connect() {
    source = new EventSource(url);
    source.onmessage = ({ data }) => {
      pause = SHORTEST_PAUSE;
      const news = JSON.parse(data);
      told = { ...news, stylesheets: [] };
      channel?.postMessage(news);
      hear(news);
    };
    source.onerror = () => {
      disconnect();
      timer = setTimeout(connect, pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    };
  }

  function disconnect() {
    clearTimeout(timer);
    source?.close();
    source = told = null;
  }

  function start() {
    // Locks are for secure contexts: HTTPS, and localhost. Elsewhere a tab listens while it is seen,
    // and hears then what it has missed.
    if (!navigator.locks || !window.BroadcastChannel) {
      document.addEventListener("visibilitychange", listenWhileSeen);
      listenWhileSeen();
      return;
    }
    channel = new BroadcastChannel(`asyncwsgi ${url}`);
    channel.onmessage = ({ data }) => {
      if (data !== "hello") hear(data);
      else if (told) channel.postMessage(told);
    };
    channel.postMessage("hello");
    const stopped = new AbortController();
    release = () => stopped.abort();
    const held = () =>
      new Promise((resolve) => {
        release = resolve;
        connect();
      });
    navigator.locks.request(`asyncwsgi ${url}`, { signal: stopped.signal }, held).catch(() => {});
  }

  function stop() {
    document.removeEventListener("visibilitychange", listenWhileSeen);
    disconnect();
    channel?.close();
    release?.();
    channel = release = null;
  }

  function listenWhileSeen() {
    disconnect();
    if (!document.hidden) connect();
  }

  // Where storage is forbidden, nothing is remembered.
  function remembered(name) {
    try {
      return sessionStorage.getItem(name);
    } catch {
      return null;
    }
  }

  function remember(name, value) {
    try {
      sessionStorage.setItem(name, value);
    } catch {}
  }

  function forget(name) {
    try {
      sessionStorage.removeItem(name);
    } catch {}
  }

  // A page that the browser keeps for its "back" must hold neither lock nor connection.
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => event.persisted && start());
  scrollBack();
  start();
})();
