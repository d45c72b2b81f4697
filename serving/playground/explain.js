// The switch beside the picture: which parts of it speak for a class, drawn over it.

import { ask, form } from "./api.js";
import { byId, make, taskRunner } from "./page.js";

const METHODS = {
  "class-activation-map": "These are the exact contributions of the network's last maps to the logit of the class (a class-activation map).",
  occlusion: "This is how much the logit of the class falls if the surroundings of each place are hidden (occlusion).",
};

/** Make the switch for a picture input: `offer(path, top)` after an answer, and `withdraw()`. */
export function explanations(picture) {
  const run = taskRunner(byId("explain"), byId("explain-problem"));

  function withdraw() {
    run(async () => show(null, ""));
    byId("explain").hidden = true;
  }

  /** Offer the classes of an answer of the model at this path, which may see a crop of the picture only. */
  function offer(path, top, cropped) {
    byId("explain-choices").replaceChildren(
      choice("nothing", true, () => run(async () => show(null, ""))),
      ...top.map(({ class: name }) => choice(name, false, () => run((signal) => explain(path, name, cropped, signal)))),
    );
    byId("explain").hidden = false;
  }

  async function explain(path, name, cropped, signal) {
    const options = { method: "POST", body: form({ image: picture.file }), headers: { Accept: "image/png" }, signal };
    const answer = await ask(`${path}/explain?class=${encodeURIComponent(name)}`, options);
    const method = METHODS[answer.headers.get("Vitrine-Method")];
    show(await answer.blob(), `Orange speaks for ${name}, blue against it. ${method}${cropped ? " Dark parts were not shown to the network." : ""}`);
  }

  function show(overlay, note) {
    picture.cover(overlay);
    byId("explain-note").textContent = note;
  }

  return { offer, withdraw };
}

function choice(name, checked, chosen) {
  const input = make("input", { type: "radio", name: "explained", value: name, checked });
  input.addEventListener("change", chosen);
  return make("label", {}, input, ` ${name}`);
}
