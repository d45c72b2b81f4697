// Inside the network: the zeros after each activation, and the feature maps of one.

import { ask, askJson, form, parseNpy } from "./api.js";
import { featureMaps, percent, zerosProfile } from "./charts.js";
import { byId, make, taskRunner } from "./page.js";

/** Make the part of the page that looks into a network: `show(path, file, signal)` fills it, and `hide()` empties it. */
export function insideView() {
  const run = taskRunner(byId("maps"), byId("classify-problem"));
  let [layers, path, file] = [[], "", null];
  byId("layer").addEventListener("change", showMaps);

  function hide() {
    byId("inside").hidden = true;
    run(async () => byId("maps").replaceChildren()); // maps still being requested are of another picture
  }

  async function show(model, picture, signal) {
    const found = await askJson(`${model}/inspect`, { method: "POST", body: form({ image: picture }), signal });
    [layers, path, file] = [found.layers, model, picture];
    byId("inside").hidden = !layers.length;
    if (!layers.length) return;
    const smooth = layers.some(({ small }) => small !== null);
    byId("profile-note").textContent = "Share of exact zeros after each activation, for this picture" +
      (smooth ? `. The paler bars are the share of values nearer to zero than ${found.epsilon}, because smooth activations are hardly ever exactly zero.` : ".") +
      " Choose an activation to see its feature maps.";
    byId("profile").replaceChildren(zerosProfile(layers, choose));
    byId("layer").replaceChildren(...layers.map((layer) => make("option", { value: layer.name }, `${layer.name} (${layer.operator})`)));
    choose(layers[0].name);
  }

  function choose(name) {
    byId("layer").value = name;
    showMaps();
  }

  function showMaps() {
    const layer = layers.find(({ name }) => name === byId("layer").value);
    const dead = layer.channel_zeros.filter((share) => share === 1).length;
    byId("layer-note").textContent = `${percent(layer.zeros)} of the values are zero; ${dead} of ${layer.channels} channels are zero everywhere in this picture.`;
    for (const bar of document.querySelectorAll(".chart .zeros")) bar.classList.toggle("chosen", bar.dataset.layer === layer.name);
    run(async (signal) => {
      const response = await ask(`${path}/maps?layer=${encodeURIComponent(layer.name)}`, { method: "POST", body: form({ image: file }), signal });
      const array = parseNpy(await response.arrayBuffer());
      const maps = array.shape.length === 3 ? featureMaps(array) : [make("p", { className: "note" }, `The output of this activation is not a set of maps, and cannot be drawn: its shape is ${array.shape.join("×")}.`)];
      byId("maps").replaceChildren(...maps);
    });
  }

  return { hide, show };
}
