// Pictures to try a model with: those of its atlas, or of the atlas of the default model of its route.

import { atlasOf, drawFrom } from "./atlas.js";
import { modelPath, Problem } from "./api.js";
import { byId, make } from "./page.js";

const MOST = 10; // pictures shown at once, each of another class

/** Make the strip of examples: `show(model, defaults)` offers those of a model; `taken` gets the chosen one as a file. */
export function exampleStrip(taken) {
  let [atlas, round, latest] = [null, 0, null];
  byId("examples-more").addEventListener("click", () => offer(round + 1));

  async function show(model, defaults) {
    latest = model;
    reveal(false);
    for (const name of new Set([model.name, defaults[model.route]])) {
      const found = name && (await atlasOf(modelPath(name)).catch(absent));
      if (latest !== model) return; // another model was chosen meanwhile
      if (!found) continue;
      atlas = found;
      byId("examples-note").textContent = `Examples from ${atlas.data}`;
      reveal(true);
      return offer(0);
    }
  }

  function reveal(some) {
    for (const part of ["examples", "examples-more"]) byId(part).hidden = !some;
  }

  function offer(turn) {
    const groups = new Map();
    atlas.pictures.forEach(({ label, predicted }, i) => groups.set(label || predicted, [...(groups.get(label || predicted) ?? []), i]));
    round = turn;
    byId("examples-list").replaceChildren(...[...groups].sort(([a], [b]) => a.localeCompare(b)).slice(0, MOST).map(([name, all]) => thumbnail(name, all[turn % all.length])));
  }

  function thumbnail(name, i) {
    const canvas = make("canvas", { width: atlas.side, height: atlas.side });
    drawFrom(atlas, i, canvas.getContext("2d"), 0, 0, atlas.side);
    const button = make("button", { type: "button", title: name, ariaLabel: `Example: ${name}` }, canvas);
    button.addEventListener("click", () => canvas.toBlob((blob) => taken(new File([blob], `${name.replace(/[^\w-]+/g, "-")}-${i}.png`, { type: "image/png" }))));
    return button;
  }

  return { show };
}

/** A model may have no atlas, or a closed one: then there are no examples. */
function absent(error) {
  if (!(error instanceof Problem)) throw error;
  return null;
}
