// What all panels use: elements, problems, announcements, copying, and a runner for one task at a time.

import { Problem } from "./api.js";

export const byId = (id) => document.getElementById(id);

/** Make an element with properties and children; text is never interpreted as markup. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Make an SVG element with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Have screen readers say a sentence. */
export const announce = (text) => (byId("announcement").textContent = text);

/** Show a problem in its place, in the words of the API; null clears the place. */
export function showProblem(place, problem) {
  place.replaceChildren();
  if (!problem) return;
  const facts = [problem.code, problem.status && `HTTP ${problem.status}`].filter(Boolean).join(" · ");
  place.append(make("div", { className: "problem" }, make("strong", {}, problem.title), make("div", {}, problem.detail), make("code", {}, facts)));
}

/** Make a problem of any error; only those that are no `Problem` are bugs, and logged. */
export function problemOf(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem({ title: "This page failed", detail: String(error) });
}

/** Make a runner of tasks: a new task aborts the one before it, and its problem is shown. */
export function taskRunner(panel, place) {
  let current = null;
  return async (task) => {
    current?.abort();
    const mine = (current = new AbortController());
    showProblem(place, null);
    panel.setAttribute("aria-busy", "true");
    try {
      await task(mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) showProblem(place, problemOf(error));
    } finally {
      if (mine === current) panel.removeAttribute("aria-busy");
    }
  };
}

/** Copy text to the clipboard, also on pages without https, and say so on the button for a moment. */
export async function copy(text, button) {
  const label = button.dataset.label ?? (button.dataset.label = button.textContent);
  const copied = (await navigator.clipboard?.writeText(text).then(() => true, () => false)) || copySelected(text);
  button.textContent = copied ? "Copied" : "Not copied";
  announce(copied ? "Copied." : "The browser does not let this page copy.");
  setTimeout(() => (button.textContent = label), 2000);
}

function copySelected(text) {
  const area = make("textarea", { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}
