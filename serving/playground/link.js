// The address of what is shown, to share: the tab, and every setting that is not the usual one. It never names a picture.

import { byId, copy } from "./page.js";

/** Return the tab and the settings that the address of the page names. */
export function linked() {
  const [tab, query = ""] = location.hash.slice(1).split("?");
  return { tab, settings: new URLSearchParams(query) };
}

/** The settings of a tab: every control that is marked as one. */
const settingsOf = (tab) => [...byId(tab).querySelectorAll("[data-setting]")];

/** Remember the present values as the usual ones. */
export function rememberUsual() {
  for (const control of document.querySelectorAll("[data-setting]")) control.dataset.usual = control.value;
}

/** Set what the address of the page names, and return what this server does not have. */
export function restore() {
  const { tab, settings } = linked();
  const missing = [];
  for (const control of settingsOf(tab)) {
    const value = settings.get(control.dataset.setting) ?? control.dataset.usual;
    if (value === control.value) continue;
    const before = control.value;
    control.value = value;
    if (control.value !== value) {
      control.value = before;
      missing.push(`${control.dataset.setting} ${value}`);
    } else control.dispatchEvent(new Event("change", { bubbles: true }));
  }
  return missing;
}

/** Make the address of the page name a tab and its settings. */
export function note(tab) {
  const settings = new URLSearchParams();
  for (const { dataset, value } of settingsOf(tab)) if (value !== dataset.usual) settings.set(dataset.setting, value);
  history.replaceState(null, "", `#${tab}${settings.size ? `?${settings}` : ""}`);
}

/** Have the button of the page copy its address. */
export function setUpSharing() {
  byId("share").addEventListener("click", () => copy(location.href, byId("share")));
}
