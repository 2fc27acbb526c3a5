// Once a second, ask the server (not the application) whether this page is still what it shows.
const { shown } = document.querySelector("main").dataset;
async function look() {
  if (document.hidden) return document.addEventListener("visibilitychange", look, { once: true });
  try {
    const answer = await fetch(location.href, {
      headers: { "Asyncwsgi-Error": shown },
      cache: "no-store",
    });
    if (answer.status !== 204) return location.reload();
  } catch {
    // Nobody listens at the moment.
  }
  setTimeout(look, 1000);
}
setTimeout(look, 1000);

const text = document.getElementById("text");
const button = document.getElementById("copy");
const label = button.textContent;

async function copy() {
  try {
    await navigator.clipboard.writeText(text.textContent);
  } catch {
    // Only a secure origin may: show it, selected, to be copied by hand at least.
    text.closest("details").open = true;
    getSelection().selectAllChildren(text);
    document.execCommand("copy");
  }
  button.classList.add("copied");
  button.textContent = "Copied";
  setTimeout(() => {
    button.classList.remove("copied");
    button.textContent = label;
  }, 1500);
}

button.hidden = false;
button.addEventListener("click", copy);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "c") copy();
  if (event.key === "o") document.querySelector("a.place")?.click();
});
