// Pictures: their classes and what speaks for them, similar pictures, and what happens inside the network.

import { ask, askJson, form, modelPath } from "./api.js";
import { surroundings } from "./atlas.js";
import { batchList, summary } from "./batch.js";
import { accepted, modelCard } from "./card.js";
import { classBars, percent } from "./charts.js";
import { exampleStrip } from "./examples.js";
import { explanations } from "./explain.js";
import { setUpFeedback } from "./feedback.js";
import { naming, pictureInput } from "./input.js";
import { insideView } from "./inside.js";
import { announce, byId, make, taskRunner } from "./page.js";
import { bytesOf, literal, showCode } from "./snippet.js";

const SAMPLE_CLASS = "frog"; // what sample.jpg shows

export function setUpClassify({ models, defaults }) {
  const classifiers = models.filter((model) => model.task !== "embedding");
  const select = byId("classifier");
  const run = taskRunner(byId("classes"), byId("classify-problem"));
  const picture = pictureInput("image", "Drop, paste or choose pictures", picked, { many: several, glance });
  const [speaks, feedback, inside, batch] = [explanations(picture), setUpFeedback(), insideView(), batchList(picture.take)];
  const examples = exampleStrip(picture.take);
  const chosen = () => classifiers.find((model) => model.name === select.value);
  const path = () => modelPath(select.value);

  document.querySelector("[data-pictures=image]").append(picture.element);
  select.append(...groupedOptions(classifiers, defaults));
  const leading = classifiers.filter(({ name, route }) => defaults[route] === name);
  const first = leading.find(({ classes }) => classes.includes(SAMPLE_CLASS)) ?? leading[0];
  if (first) select.value = first.name;
  select.addEventListener("change", () => {
    showModel();
    again();
  });
  for (const name of ["top", "keep", "coverage"]) byId(name).addEventListener("change", again);
  byId("sample").addEventListener("click", async () => {
    const content = await (await ask("/playground/sample.jpg")).blob();
    picture.take(new File([content], "sample.jpg", { type: "image/jpeg" }));
  });
  showModel();

  function showModel() {
    const model = chosen();
    byId("classifier-card").replaceChildren(...(model ? [modelCard(model)] : [make("p", {}, "This server has no classifier.")]));
    if (!model) return;
    byId("accepted").textContent = `Takes pictures of ${accepted(model.input)}.`;
    byId("keep-field").hidden = !model.known;
    byId("coverage-field").hidden = !model.sets;
    examples.show(model, defaults);
  }

  /** The parameters of a request: those that the model has and the user has set. */
  function options() {
    return { top: byId("top").value || "5", ...setting("keep"), ...setting("coverage") };
  }

  function setting(name) {
    return byId(name).value && !byId(`${name}-field`).hidden ? { [name]: byId(name).value } : {};
  }

  const request = () => `${path()}/classify?${new URLSearchParams(options())}`;

  function picked(file) {
    batch.choose(file);
    answer();
  }

  function several(files) {
    batch.start(files, request());
    picture.take(files[0]);
  }

  function again() {
    if (batch.files.length) batch.repeat(request());
    answer();
  }

  /** Say what a picture shows, in a few words. */
  async function glance(file, signal) {
    const answer = await askJson(`${path()}/classify?top=1`, { method: "POST", body: form({ image: file }), signal });
    return summary(answer).filter(Boolean).join(" · ");
  }

  function answer() {
    if (!picture.file || !chosen()) return;
    for (const part of ["welcome", "classes", "around", "code"]) byId(part).hidden = true;
    speaks.withdraw();
    feedback.hide();
    inside.hide();
    const [model, file, address] = [path(), picture.file, request()];
    run(async (signal) => {
      const answer = await askJson(address, { method: "POST", body: form({ image: file }), signal }).catch((error) => {
        throw naming(error, file);
      });
      showClasses(answer);
      showCode(byId("code"), address, [["image", file]], pythonOf(select.value, file, options()));
      speaks.offer(model, answer.pictures[0].top, chosen().input.resize === "crop");
      feedback.show(answer, chosen().classes, file);
      byId("surroundings").replaceChildren(...(await surroundings(model, file, signal)));
      byId("around").hidden = false;
      await inside.show(model, file, signal);
    });
  }

  function showClasses(answer) {
    const { task, model, provider, verdicts, pictures: [{ size, shown, treatment, top, verdict, score, set }] } = answer;
    byId("classes-bars").replaceChildren(classBars(top));
    showVerdict(verdicts, verdict, score);
    byId("set").hidden = !set;
    if (set) byId("set").textContent = `With a frequency of ${percent(set.coverage)}, the right class is among these: ${set.classes.join(", ") || "none, because no class is probable enough"}.`;
    byId("classes-note").textContent =
      `The model ${model.name} (${model.hash.slice(0, 8)}) ran on ${provider.replace("ExecutionProvider", "")}. Your picture of ${size.width}×${size.height} px was shown to it at ${shown.width}×${shown.height} px (${treatment.replaceAll(/(\d)x(\d)/g, "$1×$2").replaceAll("->", "→")}). ` +
      `The probabilities are calibrated with temperature ${chosen().temperature.toPrecision(3)}. ` +
      (task === "multi-label"
        ? "A picture may have several classes or none. Each class has a probability of its own, so that they do not sum to 100 %; it is present (✓) if its probability reaches its threshold, which the line in its bar marks."
        : "The model knows only its own classes: it names one of them for any picture.");
    byId("classes").hidden = false;
    announce(`${picture.file.name}: ${summary(answer).filter(Boolean).join(", ")}.`);
  }

  function showVerdict(verdicts, verdict, score) {
    const [line, note] = [byId("verdict"), byId("verdict-note")];
    line.hidden = note.hidden = !verdict;
    line.className = verdict === "cannot_say" ? "cannot-say" : "note";
    if (!verdict) return;
    const { keep, threshold, kept, refused } = verdicts;
    const meaning = verdict === "known" ? ": the picture is like those that this model was made for" : ": the picture is unlike those that this model was made for, and the classes below may mean nothing";
    line.replaceChildren(make("strong", {}, verdict === "known" ? "Known" : "Cannot say"), `${meaning} (score ${score.toFixed(3)}, threshold ${threshold.toFixed(3)}).`);
    note.textContent =
      `The score says that ${percent(score)} of the pictures that the model was validated with look no more familiar to it than yours. Below the threshold, it cannot say: ` +
      `that kept ${percent(kept.share)} of known pictures (asked: ${percent(keep)}), and refused ${percent(refused.share)} of pictures of other things.`;
  }

  return { inputs: [picture], again };
}

/** Write the request for the classes of a picture in Python. */
function pythonOf(name, file, options) {
  const settings = Object.entries(options).map(([option, value]) => `, ${option}=${Number(value)}`).join("");
  return [`answer = client.classify(${literal(name)}, [${bytesOf(file)}]${settings})`];
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
