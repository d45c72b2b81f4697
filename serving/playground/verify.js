// Two faces: the decision, shown on the histogram of distances.

import { askJson, form } from "./api.js";
import { distanceChart, percent } from "./charts.js";
import { byId, make, modelCard, pictureInput, taskRunner } from "./page.js";

const VERDICTS = { match: "Match", no_match: "No match", cannot_say: "Cannot say" };

export function setUpVerify({ models, defaults }) {
  const model = models.find(({ name }) => name === defaults.faces);
  const thresholds = model?.verification?.thresholds ?? [];
  const pairs = model?.verification?.pairs;
  const run = taskRunner(byId("decision"), byId("verify-problem"));
  const ready = () => (byId("compare").disabled = !(first.file && second.file && model));
  const first = pictureInput("first", "One face", ready);
  const second = pictureInput("second", "Another face", ready);

  document.querySelector("[data-pictures='first second']").append(first.element, second.element);
  const rate = (t) => `1 in ${Math.round(1 / t.target_fmr).toLocaleString("en")} (${t.target_fmr})`;
  byId("fmr").append(...thresholds.map((t) => make("option", { value: t.target_fmr, selected: t.target_fmr === 0.001 }, rate(t))));
  byId("embedder-card").append(model ? modelCard(model) : make("p", {}, "This server has no model for faces."));
  byId("verify-form").addEventListener("submit", (event) => {
    event.preventDefault();
    compare();
  });

  function compare() {
    byId("decision").replaceChildren();
    run(async (signal) => {
      const fmr = byId("fmr").value;
      const body = form({ first: first.file, second: second.file });
      const answer = await askJson(`/v1/faces/verify${fmr ? `?fmr=${fmr}` : ""}`, { method: "POST", body, signal });
      first.mark(answer.first);
      second.mark(answer.second);
      show(answer);
    });
  }

  function show({ result, reason, distance, threshold, metric, first: one, second: other }) {
    const parts = [make("p", { className: `verdict ${result}` }, VERDICTS[result])];
    if (reason) parts.push(make("p", {}, reason));
    if ([one, other].some(({ found }) => found.length > 1)) {
      parts.push(make("p", {}, "Several faces were found. The highlighted ones were compared: large ones near the middle."));
    }
    if (distance !== null && threshold) {
      const [low, high] = threshold.fmr_interval;
      parts.push(distanceChart({ distance, threshold, thresholds, histogram: pairs?.histogram }));
      if (pairs?.histogram) parts.push(legend());
      parts.push(make("p", { className: "note" },
        `The distance is ${distance.toFixed(4)} (${metric}); two faces match up to ${threshold.distance.toFixed(4)}. At this threshold, ${percent(threshold.fmr, 3)} of the pairs of two people ` +
        `matched (95 % interval: ${percent(low, 3)} to ${percent(high, 3)})` +
        (threshold.fnmr === null ? "." : `, and ${percent(threshold.fnmr)} of the pairs of one person did not.`) +
        " The dashed lines are the thresholds for other false-match rates. The rates differ for other cameras and people, and a match is no proof of identity."));
    }
    byId("decision").replaceChildren(...parts);
  }

  function legend() {
    const number = (n) => n.toLocaleString("en");
    return make("p", { className: "legend" },
      make("span", { className: "same" }, `${number(pairs.same)} pairs of one person`),
      make("span", { className: "different" }, `${number(pairs.different)} pairs of two people`),
      `by distance, as shares of all pairs of their kind (${pairs.dataset}, ${number(pairs.people)} people)`);
  }

  return { inputs: [first, second], again: () => byId("compare").disabled || compare() };
}
