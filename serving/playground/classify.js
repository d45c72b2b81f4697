// One picture: its classes, what it is like, the zeros inside the network, and its feature maps.

import { ask, askJson, form, parseNpy } from "./api.js";
import { surroundings } from "./atlas.js";
import { classBars, featureMaps, percent, zerosProfile } from "./charts.js";
import { byId, make, modelCard, pictureInput, taskRunner } from "./page.js";

export function setUpClassify({ models, defaults }) {
  const classifiers = models.filter((model) => model.task === "classification");
  const select = byId("classifier");
  const run = taskRunner(byId("classes"), byId("classify-problem"));
  const runMaps = taskRunner(byId("maps"), byId("classify-problem"));
  const picture = pictureInput("image", "Drop, paste or choose a picture", answer);
  const chosen = () => classifiers.find((model) => model.name === select.value);
  let layers = [];

  document.querySelector("[data-pictures=image]").append(picture.element);
  select.append(...classifiers.map((model) => make("option", { value: model.name }, model.name + (model.synthetic ? " (synthetic)" : ""))));
  const first = Object.values(defaults).find((name) => classifiers.some((model) => model.name === name));
  if (first) select.value = first;
  select.addEventListener("change", () => {
    showCard();
    answer();
  });
  byId("layer").addEventListener("change", showMaps);
  byId("sample").addEventListener("click", async () => {
    const content = await (await ask("/playground/sample.jpg")).blob();
    picture.take(new File([content], "sample.jpg", { type: "image/jpeg" }));
  });
  showCard();

  function showCard() {
    byId("classifier-card").replaceChildren(...(chosen() ? [modelCard(chosen())] : [make("p", {}, "No classifier is served here.")]));
  }

  function answer() {
    if (!picture.file || !chosen()) return;
    for (const part of ["classes", "around", "inside"]) byId(part).hidden = true;
    const path = `/v1/models/${encodeURIComponent(select.value)}`;
    const request = (signal) => ({ method: "POST", body: form({ image: picture.file }), signal });
    run(async (signal) => {
      const answer = await askJson(`${path}/classify?top=5`, request(signal));
      showClasses(answer);
      byId("surroundings").replaceChildren(...(await surroundings(path, picture.file, signal)));
      byId("around").hidden = false;
      const inside = await askJson(`${path}/inspect`, request(signal));
      showInside(inside.layers);
    });
  }

  function showClasses({ model, provider, pictures: [{ size, treatment, top }] }) {
    byId("classes-bars").replaceChildren(classBars(top));
    byId("classes-note").textContent =
      `Calibrated by temperature ${chosen().temperature.toPrecision(3)}. ${size.width}×${size.height} px, ${treatment}; ` +
      `${model.name} ${model.hash.slice(0, 8)} on ${provider.replace("ExecutionProvider", "")}. It names one of its classes for any picture.`;
    byId("classes").hidden = false;
  }

  function showInside(found) {
    layers = found;
    byId("inside").hidden = !layers.length;
    if (!layers.length) return;
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
    byId("layer-note").textContent = `${percent(layer.zeros)} zeros; ${dead} of ${layer.channels} channels are silent on this picture.`;
    for (const bar of document.querySelectorAll(".chart .zeros")) bar.classList.toggle("chosen", bar.dataset.layer === layer.name);
    runMaps(async (signal) => {
      const path = `/v1/models/${encodeURIComponent(select.value)}/maps?layer=${encodeURIComponent(layer.name)}`;
      const response = await ask(path, { method: "POST", body: form({ image: picture.file }), signal });
      const array = parseNpy(await response.arrayBuffer());
      const maps = array.shape.length === 3 ? featureMaps(array) : [make("p", { className: "note" }, `What it gives is no picture: shape ${array.shape.join("×")}.`)];
      byId("maps").replaceChildren(...maps);
    });
  }

  return picture;
}
