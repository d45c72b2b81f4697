// Starts the page: models, tabs, and what is pasted.

import { askJson, Problem } from "./api.js";
import { setUpClassify } from "./classify.js";
import { setUpGallery } from "./gallery.js";
import { byId, showProblem } from "./page.js";
import { setUpVerify } from "./verify.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
let inputs = {};
let gallery = null;

function show(name, focus = false) {
  for (const tab of tabs) {
    const mine = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !mine;
    if (mine && focus) tab.focus();
  }
  history.replaceState(null, "", `#${name}`);
  if (name === "gallery") gallery?.shown();
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => show(tab.getAttribute("aria-controls")));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step) show(tabs[(i + step + tabs.length) % tabs.length].getAttribute("aria-controls"), true);
  });
});

for (const [here, there] of [["key", "verify-key"], ["verify-key", "key"]]) {
  byId(here).addEventListener("input", () => (byId(there).value = byId(here).value));
}

// a picture dropped beside its place would be opened in the page's stead
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
addEventListener("paste", ({ clipboardData }) => {
  const [file] = clipboardData.files;
  const [first, ...others] = inputs[tabs.find((tab) => tab.getAttribute("aria-selected") === "true").getAttribute("aria-controls")] ?? [];
  if (file && first) (others.find((input) => first.file && !input.file) ?? first).take(file);
});

try {
  const listed = await askJson("/v1/models");
  inputs.classify = [setUpClassify(listed)];
  inputs.verify = setUpVerify(listed);
  gallery = setUpGallery();
  inputs.gallery = gallery.inputs;
  if (listed.unavailable.length) {
    const names = listed.unavailable.map(({ name, reason }) => `${name}: ${reason}`).join(" ");
    showProblem(byId("problem"), new Problem({ title: "Some models could not be loaded", detail: names }));
  }
  show(byId(location.hash.slice(1))?.role === "tabpanel" ? location.hash.slice(1) : "classify");
} catch (error) {
  showProblem(byId("problem"), error instanceof Problem ? error : new Problem({ title: "This page failed", detail: String(error) }));
}
document.body.dataset.ready = "true";
