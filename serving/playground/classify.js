// One picture: its classes and what speaks for them, similar pictures, the zeros inside the network, and the feature maps.

import { ask, askJson, form, parseNpy } from "./api.js";
import { surroundings } from "./atlas.js";
import { classBars, featureMaps, percent, zerosProfile } from "./charts.js";
import { explanations } from "./explain.js";
import { setUpFeedback } from "./feedback.js";
import { byId, make, modelCard, pictureInput, taskRunner } from "./page.js";

const SAMPLE_CLASS = "frog"; // what sample.jpg shows

export function setUpClassify({ models, defaults }) {
  const classifiers = models.filter((model) => model.task !== "embedding");
  const select = byId("classifier");
  const run = taskRunner(byId("classes"), byId("classify-problem"));
  const runMaps = taskRunner(byId("maps"), byId("classify-problem"));
  const picture = pictureInput("image", "Drop, paste or choose a picture", answer);
  const speaks = explanations(picture);
  const feedback = setUpFeedback();
  const chosen = () => classifiers.find((model) => model.name === select.value);
  const address = () => `/v1/models/${encodeURIComponent(select.value)}`;
  let layers = [];

  document.querySelector("[data-pictures=image]").append(picture.element);
  select.append(...groupedOptions(classifiers, defaults));
  const leading = classifiers.filter(({ name, route }) => defaults[route] === name);
  const first = leading.find(({ classes }) => classes.includes(SAMPLE_CLASS)) ?? leading[0];
  if (first) select.value = first.name;
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
    byId("classifier-card").replaceChildren(...(chosen() ? [modelCard(chosen())] : [make("p", {}, "This server has no classifier.")]));
  }

  function answer() {
    if (!picture.file || !chosen()) return;
    for (const part of ["welcome", "classes", "around", "inside"]) byId(part).hidden = true;
    speaks.withdraw();
    feedback.hide();
    runMaps(async () => byId("maps").replaceChildren()); // maps still being requested are of another picture
    const path = address();
    const request = (signal) => ({ method: "POST", body: form({ image: picture.file }), signal });
    run(async (signal) => {
      const answer = await askJson(`${path}/classify?top=5`, request(signal));
      showClasses(answer);
      speaks.offer(path, answer.pictures[0].top, chosen().input.resize === "crop");
      feedback.show(answer, chosen().classes, picture.file);
      byId("surroundings").replaceChildren(...(await surroundings(path, picture.file, signal)));
      byId("around").hidden = false;
      const inside = await askJson(`${path}/inspect`, request(signal));
      showInside(inside);
    });
  }

  function showClasses({ task, model, provider, verdicts, pictures: [{ size, shown, treatment, top, verdict, score }] }) {
    byId("classes-bars").replaceChildren(classBars(top));
    showVerdict(verdicts, verdict, score);
    byId("classes-note").textContent =
      `The model ${model.name} (${model.hash.slice(0, 8)}) ran on ${provider.replace("ExecutionProvider", "")}. Your picture of ${size.width}×${size.height} px was shown to it at ${shown.width}×${shown.height} px${treatment.includes("drawing") ? `: ${treatment}` : ""}. ` +
      `The probabilities are calibrated with temperature ${chosen().temperature.toPrecision(3)}. ` +
      (task === "multi-label"
        ? "A picture may have several classes or none. Each class has a probability of its own, so that they do not sum to 100 %; it is present (✓) if its probability reaches its threshold, which the line in its bar marks."
        : "The model knows only its own classes: it names one of them for any picture.");
    byId("classes").hidden = false;
  }

  function showVerdict(verdicts, verdict, score) {
    const line = byId("verdict");
    line.hidden = !verdict;
    line.className = verdict === "cannot_say" ? "cannot-say" : "note";
    if (!verdict) return;
    const { keep, threshold, kept, refused } = verdicts;
    line.replaceChildren(
      make("strong", {}, verdict === "known" ? "Known" : "Cannot say"),
      verdict === "known"
        ? `: the picture is like those that this model was made for (score ${score.toFixed(3)}, of at least ${threshold.toFixed(3)}).`
        : `: the picture is unlike those that this model was made for, and the classes below may mean nothing (score ${score.toFixed(3)}, below ${threshold.toFixed(3)}).`,
      ` At this threshold, ${percent(kept.share)} of known pictures were kept (asked: ${percent(keep)}), and ${percent(refused.share)} of pictures of other things refused.`,
    );
  }

  function showInside(found) {
    layers = found.layers;
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
    runMaps(async (signal) => {
      const response = await ask(`${address()}/maps?layer=${encodeURIComponent(layer.name)}`, { method: "POST", body: form({ image: picture.file }), signal });
      const array = parseNpy(await response.arrayBuffer());
      const maps = array.shape.length === 3 ? featureMaps(array) : [make("p", { className: "note" }, `The output of this activation is not a set of maps, and cannot be drawn: its shape is ${array.shape.join("×")}.`)];
      byId("maps").replaceChildren(...maps);
    });
  }

  return { inputs: [picture], again: answer };
}

/** Make an option for each model, with its accuracy or mean average precision, grouped by route; the default of a route is marked. */
function groupedOptions(models, defaults) {
  const groups = new Map();
  for (const model of models) {
    const group = model.route ? `route ${model.route}` : "without a route";
    const figure = model.task === "multi-label" ? { name: "map", text: "mAP" } : { name: "accuracy", text: "accuracy" };
    const tested = model.metrics.find(({ name, split, size }) => name === figure.name && split === "test" && !size);
    const text = model.name + (tested ? ` · ${percent(tested.value)} ${figure.text}` : "") + (model.synthetic ? " (synthetic)" : "") + (defaults[model.route] === model.name ? " · default" : "");
    if (!groups.has(group)) groups.set(group, make("optgroup", { label: group }));
    groups.get(group).append(make("option", { value: model.name }, text));
  }
  return groups.values();
}
