// What is known about a model: the pictures that it takes, its data, and its figures.

import { ask, modelPath } from "./api.js";
import { make } from "./page.js";

const FIGURES = { accuracy: "Accuracy", map: "Mean average precision", "f1-macro": "F1, mean over classes", ece: "Calibration error", eer: "Equal error rate" };
const number = (n) => n.toLocaleString("en");

/** Say which pictures a model takes and at which size it sees them. */
export function accepted({ accepted_side: sides, resize, fixed_size: fixed, native_side: native, detail, drawing }) {
  const verb = { crop: "cropped to the middle", pad: "padded to" }[resize] ?? "resized to";
  const seen = fixed ? `${verb} ${fixed[1]}×${fixed[0]} px`
    : native ? `${detail ? `shrunk to ${detail} px on the shorter side, then ` : ""}rescaled to ${[...new Set(native)].join(" to ")} px a side` : "shown as they are";
  return `${sides.join(" to ")} px, ${drawing ? `turned into drawings as those of ${drawing.toUpperCase()}, then ` : ""}${seen}`;
}

/** Say how the values of the pixels are prepared. */
function prepared({ interpolation, antialias, normalisation }) {
  const resampled = `${interpolation}${antialias ? " with antialiasing" : ""}`;
  if (!normalisation) return `${resampled}; any normalisation is part of the network`;
  const { colour_order: order, scale, mean, std } = normalisation;
  return `${resampled}; ${order.toUpperCase()} in ${scale.replace("..", " to ")}, mean ${mean.join(", ")}, deviation ${std.join(", ")}`;
}

/** Make a card with what is known about a model. */
export function modelCard(model) {
  const tasks = {
    classification: `names one of ${model.classes.length} classes`,
    "multi-label": `names those of ${model.classes.length} classes that are present`,
    embedding: "embeds faces",
  };
  const facts = { Task: tasks[model.task], Pictures: accepted(model.input), Pixels: prepared(model.input) };
  if (model.dataset) facts.Data = `${model.dataset.name}, ${number(model.dataset.train_samples)} pictures`;
  if (model.parameters) facts.Weights = number(model.parameters.total);
  for (const metric of model.metrics) {
    if (metric.size || !(metric.name in FIGURES) || !metric.split.includes("test")) continue;
    facts[`${FIGURES[metric.name]}, ${metric.split}`] = `${metric.value.toFixed(4)} on ${number(metric.samples)}`;
  }
  const both = model.quantization;
  if (both?.served) facts["In 8-bit integers"] = `${both.int8.accuracy.toFixed(4)} on ${number(both.test_samples)}`;
  facts["Runs on"] = model.provider.replace("ExecutionProvider", "");
  facts.Hash = model.hash.slice(0, 12);
  const list = make("dl", {}, ...Object.entries(facts).flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, v)]));
  const warning = model.synthetic ? [make("p", { className: "warning" }, "Trained on generated pictures: for trying things out only.")] : [];
  return make("div", {}, ...warning, list, wholeCard(model.name));
}

/** Make the element with the full model card, which is requested when it is opened. */
function wholeCard(name) {
  const text = make("pre", { tabIndex: 0 });
  const details = make("details", {}, make("summary", {}, "Full model card"), text);
  details.addEventListener("toggle", async () => {
    if (!details.open || text.textContent) return;
    try {
      text.textContent = await (await ask(`${modelPath(name)}/card`)).text();
    } catch (problem) {
      text.textContent = problem.message;
    }
  });
  return details;
}
