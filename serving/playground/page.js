// What all panels use: elements, drop areas, problems, and a runner for one task at a time.

import { ask, Problem } from "./api.js";

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

/** Show a problem in its place, in the words of the API; null clears the place. */
export function showProblem(place, problem) {
  place.replaceChildren();
  if (!problem) return;
  const facts = [problem.code, problem.status && `HTTP ${problem.status}`].filter(Boolean).join(" · ");
  place.append(make("div", { className: "problem" }, make("strong", {}, problem.title), make("div", {}, problem.detail), make("code", {}, facts)));
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
      if (mine.signal.aborted) return;
      if (!(error instanceof Problem)) console.error(error);
      showProblem(place, error instanceof Problem ? error : new Problem({ title: "This page failed", detail: String(error) }));
    } finally {
      if (mine === current) panel.removeAttribute("aria-busy");
    }
  };
}

const COVERED = 240; // px; least length of the longer side of a picture that another one covers

/** Make an area to drop, paste or choose one picture; `picked` is called with each picture. */
export function pictureInput(name, text, picked = () => {}) {
  const input = make("input", { type: "file", accept: "image/*", id: `file-${name}` });
  const boxes = svg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
  const image = make("img", { alt: "" });
  const overlay = make("img", { className: "overlay", alt: "", hidden: true });
  const shown = make("div", { className: "shown", hidden: true }, image, overlay, boxes);
  const hint = make("span", {}, text);
  const element = make("label", { className: "drop" }, shown, hint, input);
  const state = { element, file: null, take, mark, cover, clear };

  function take(file) {
    state.file = file;
    URL.revokeObjectURL(image.src);
    boxes.replaceChildren();
    cover(null);
    shown.hidden = true;
    image.onload = () => (shown.hidden = false);
    image.src = URL.createObjectURL(file);
    hint.textContent = file.name || "pasted picture";
    picked(file);
  }

  /** Frame the faces that were found, and highlight the chosen one. */
  function mark({ size, box, found }) {
    boxes.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    const same = (a, b) => b && a.left === b.left && a.top === b.top;
    const frame = (b, kind) => svg("rect", { x: b.left, y: b.top, width: b.width, height: b.height, class: kind });
    boxes.replaceChildren(...found.filter((b) => !same(b, box)).map((b) => frame(b, "other")), ...(box ? [frame(box, "chosen")] : []));
  }

  /** Show a picture of the same shape in place of this one; null takes it away. A small one is enlarged. */
  function cover(blob) {
    URL.revokeObjectURL(overlay.src);
    overlay.hidden = !blob;
    const scale = Math.min(COVERED / image.naturalWidth, COVERED / image.naturalHeight);
    image.style.width = blob && scale > 1 ? `${scale * image.naturalWidth}px` : "";
    if (blob) overlay.src = URL.createObjectURL(blob);
    else overlay.removeAttribute("src");
  }

  function clear() {
    state.file = null;
    cover(null);
    input.value = "";
    URL.revokeObjectURL(image.src);
    image.removeAttribute("src");
    shown.hidden = true;
    hint.textContent = text;
  }

  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  const over = (event) => {
    event.preventDefault();
    element.classList.toggle("over", event.type === "dragover");
  };
  element.addEventListener("dragover", over);
  element.addEventListener("dragleave", over);
  element.addEventListener("drop", (event) => {
    over(event);
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  return state;
}

const FIGURES = { accuracy: "Accuracy", map: "Mean average precision", "f1-macro": "F1, mean over classes", ece: "Calibration error", eer: "Equal error rate" };

/** Make a card with what is known about a model. */
export function modelCard(model) {
  const number = (n) => n.toLocaleString("en");
  const policy = model.input;
  const verb = { crop: "cropped to the middle", pad: "padded to" }[policy.resize] ?? "resized to";
  const native = policy.fixed_size ? `${verb} ${policy.fixed_size[1]}×${policy.fixed_size[0]} px`
    : policy.native_side ? `${policy.detail ? `shrunk to ${policy.detail} px on the shorter side, then ` : ""}rescaled to ${[...new Set(policy.native_side)].join(" to ")} px a side` : "shown as they are";
  const tasks = {
    classification: `names one of ${model.classes.length} classes`,
    "multi-label": `names those of ${model.classes.length} classes that are present`,
    embedding: "embeds faces",
  };
  const facts = {
    Task: tasks[model.task],
    Pictures: `${policy.accepted_side.join(" to ")} px, ${native}`,
  };
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
      text.textContent = await (await ask(`/v1/models/${encodeURIComponent(name)}/card`)).text();
    } catch (problem) {
      text.textContent = problem.message;
    }
  });
  return details;
}
