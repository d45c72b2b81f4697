// Two faces: the decision, shown on the histogram of distances.

import { askJson, form } from "./api.js";
import { modelCard } from "./card.js";
import { distanceChart, percent } from "./charts.js";
import { naming, pictureInput } from "./input.js";
import { announce, byId, make, taskRunner } from "./page.js";
import { bytesOf, literal, showCode } from "./snippet.js";

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
    byId("verify-code").hidden = true;
    run(async (signal) => {
      const [one, other, fmr, several] = [first.file, second.file, byId("fmr").value, byId("several").value];
      const address = `/v1/faces/verify?${new URLSearchParams({ ...(fmr && { fmr }), several })}`;
      const answer = await askJson(address, { method: "POST", body: form({ first: one, second: other }), signal }).catch((error) => {
        throw naming(error, one, other);
      });
      mark(first, answer.first);
      mark(second, answer.second);
      show(answer);
      const rate = fmr && `, fmr=${fmr}`;
      showCode(byId("verify-code"), address, [["first", one], ["second", other]], [`answer = client.verify(${bytesOf(one)}, ${bytesOf(other)}${rate}, several=${literal(several)})`]);
    });
  }

  function show({ result, reason, distance, threshold, metric, compared, first: one, second: other }) {
    const parts = [make("p", { className: `verdict ${result}` }, VERDICTS[result])];
    if (reason) parts.push(make("p", {}, reason));
    if (compared > 1) {
      parts.push(make("p", {}, `${compared} pairs of faces were compared. The highlighted ones are the nearest pair; somebody is taken for another ${compared} times as often as with one pair, at most.`));
    } else if ([one, other].some(({ found }) => found.length > 1)) {
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
        " In the pictures, the number of the compared face is followed by the probability that it is a face, according to the detector. The dashed lines are the thresholds for other false-match rates. The rates differ for other cameras and people, and a match is no proof of identity."));
    }
    byId("decision").replaceChildren(...parts);
    announce([VERDICTS[result], reason, distance !== null && `distance ${distance.toFixed(3)}`].filter(Boolean).join(", "));
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

/** Frame and number the faces that were found, and give the detector's score of the one that was compared. */
function mark(input, { size, box, quality, found }) {
  input.mark(size, found.map((face, i) => {
    const chosen = box !== null && face.left === box.left && face.top === box.top;
    return { box: face, chosen, text: `${i + 1}${chosen && quality ? ` · ${percent(quality.probability)}` : ""}` };
  }));
}
