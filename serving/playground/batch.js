// Several pictures at once: a list with a row for each, of which one is looked at closely.

import { askJson, form } from "./api.js";
import { percent } from "./charts.js";
import { announce, byId, make, problemOf } from "./page.js";

const AT_ONCE = 2; // requests under way

/** Make the list: `start(files, address)` answers all, `opened(file)` is called with the picture of a row that is chosen. */
export function batchList(opened) {
  let rows = new Map(); // file -> its row
  let current = null;

  function hide() {
    current?.abort();
    for (const row of rows.values()) URL.revokeObjectURL(row.querySelector("img").src);
    rows = new Map();
    byId("batch").hidden = true;
  }

  /** Mark the row of a picture, or hide the list if it has none. */
  function choose(file) {
    if (!rows.has(file)) return hide();
    for (const [other, row] of rows) row.querySelector("button").ariaCurrent = String(other === file);
  }

  async function start(files, address) {
    hide();
    rows = new Map(files.map((file) => [file, rowOf(file)]));
    byId("batch-rows").replaceChildren(...rows.values());
    byId("batch").hidden = false;
    await repeat(address);
  }

  /** Answer all pictures of the list, again if they were before. */
  async function repeat(address) {
    current?.abort();
    const { signal } = (current = new AbortController());
    const waiting = [...rows];
    let done = 0;
    const work = async () => {
      for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) {
        const cells = await answered(next[0], address, signal);
        if (signal.aborted) return;
        fill(next[1].querySelectorAll("td"), cells);
        byId("batch-note").textContent = `${(done += 1)} of ${rows.size} pictures are answered. Choose one to see more of it.`;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (rows.size && !signal.aborted) announce(`All ${rows.size} pictures are answered.`);
  }

  function rowOf(file) {
    const image = make("img", { src: URL.createObjectURL(file), alt: "", loading: "lazy" });
    const button = make("button", { type: "button", className: "quiet" }, image, make("span", {}, file.name));
    image.onerror = () => (image.hidden = true); // the browser does not support the format
    button.addEventListener("click", () => opened(file));
    return make("tr", {}, make("th", { scope: "row" }, button), make("td", {}, "…"), make("td"), make("td"));
  }

  return { choose, hide, repeat, start, get files() { return [...rows.keys()]; } };
}

/** Fill the cells of a row; the last text takes the place of those that are missing. */
function fill(cells, texts) {
  cells.forEach((cell, i) => {
    cell.hidden = i >= texts.length;
    cell.colSpan = i === texts.length - 1 ? cells.length - i : 1;
    cell.textContent = texts[i] ?? "";
  });
}

/** Return what a row says of a picture: its class, the probability, and the verdict; or why there is no answer. */
async function answered(file, address, signal) {
  try {
    const answer = await askJson(address, { method: "POST", body: form({ image: file }), signal });
    return summary(answer);
  } catch (error) {
    const { title } = signal.aborted ? { title: "" } : problemOf(error);
    return [title];
  }
}

/** Summarize the answer to one picture: [classes, probability, verdict]. */
export function summary({ task, pictures: [{ top, verdict }] }) {
  const present = top.filter((guess) => guess.present).map((guess) => guess.class);
  const name = task === "multi-label" ? present.join(", ") || "none" : top[0].class;
  return [name, percent(top[0].probability), { known: "known", cannot_say: "cannot say" }[verdict] ?? ""];
}
