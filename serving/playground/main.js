// Starts the page: models, tabs, the API key, pasted pictures, and the address of what is shown.

import { askJson, Problem, useKey } from "./api.js";
import { setUpClassify } from "./classify.js";
import { setUpGallery } from "./gallery.js";
import { linked, note, rememberUsual, restore, setUpSharing } from "./link.js";
import { byId, problemOf, showProblem } from "./page.js";
import { setUpVerify } from "./verify.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const panelOf = (tab) => tab.getAttribute("aria-controls");
const current = () => panelOf(tabs.find((tab) => tab.getAttribute("aria-selected") === "true"));
let panels = null; // name of a panel -> its picture inputs, and a function that repeats its request

function show(name, focus = false) {
  for (const tab of tabs) {
    const mine = panelOf(tab) === name;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
    byId(panelOf(tab)).hidden = !mine;
    if (mine && focus) tab.focus();
  }
  note(name);
  if (name === "gallery") panels?.gallery.again();
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => show(panelOf(tab)));
  tab.addEventListener("keydown", ({ key }) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[key];
    if (to !== undefined) show(panelOf(tabs[to % tabs.length]), true);
  });
});

addEventListener("keywanted", () => (byId("access").hidden = false));
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value);
  if (panels) panels[current()].again();
  else start();
});

// otherwise the browser would open a picture that is dropped outside the drop areas
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
addEventListener("paste", ({ clipboardData }) => {
  const { files } = clipboardData;
  const [first, ...others] = panels?.[current()].inputs ?? [];
  if (files.length && first) (others.find((input) => first.file && !input.file) ?? first).give(files);
});

document.addEventListener("change", ({ target }) => target.dataset.setting && note(current()));
addEventListener("hashchange", follow);

/** Show what the address of the page names. */
function follow() {
  const { tab } = linked();
  const missing = byId(tab)?.role === "tabpanel" ? restore() : [];
  show(byId(tab)?.role === "tabpanel" ? tab : "classify");
  if (missing.length) showProblem(byId("problem"), new Problem({ title: "The link does not fit this server", detail: `It has no ${missing.join(" and no ")}; the usual settings are shown.` }));
}

async function start() {
  showProblem(byId("problem"), null);
  try {
    const listed = await askJson("/v1/models");
    panels = { classify: setUpClassify(listed), verify: setUpVerify(listed), gallery: setUpGallery() };
    if (listed.unavailable.length) {
      const names = listed.unavailable.map(({ name, reason }) => `${name}: ${reason}`).join(" ");
      showProblem(byId("problem"), new Problem({ title: "Some models could not be loaded", detail: names }));
    }
    rememberUsual();
    follow();
  } catch (error) {
    showProblem(byId("problem"), problemOf(error));
  }
}

setUpSharing();
await start();
document.body.dataset.ready = "true";
