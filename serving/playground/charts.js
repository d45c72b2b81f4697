// The charts: bars of probabilities, the profile of zeros, the histogram of distances, and feature maps.

import { make, svg } from "./page.js";

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;

/** Return the width in px for a chart: at most `most`, so that its text is not scaled. */
export const room = (most) => Math.min(most, document.querySelector("main").clientWidth - 32);

/** Make a table of classes, each with a bar; those of a multi-label model also have a threshold. */
export function classBars(top) {
  const rows = top.map(({ class: name, probability, threshold, present }) => {
    const fill = make("i");
    fill.style.width = `${100 * probability}%`;
    const bar = make("div", { className: "bar" }, fill);
    if (threshold !== undefined) {
      const mark = make("b", { title: `present from ${percent(threshold)} on` });
      mark.style.left = `${100 * threshold}%`;
      bar.append(mark);
    }
    return make("tr", {}, make("th", { scope: "row" }, present ? `✓ ${name}` : name), make("td", {}, bar), make("td", {}, probability < 0.0005 ? "< 0.1 %" : percent(probability)));
  });
  return make("table", { className: "bars" }, ...rows);
}

const NAMED = 14; // px; least distance of the names of two layers
const LONGEST = 18; // characters of a layer's name

/** Draw the share of zeros after each activation, in the order of the network, with that of small values behind it. A click calls `choose(name)`. */
export function zerosProfile(layers, choose) {
  const names = shortened(layers.map(({ name }) => name));
  const [width, left, tall] = [room(600), 46, 152];
  const height = tall + 16 + 7 * Math.max(...names.map(({ length }) => length));
  const step = (width - left) / layers.length;
  const every = Math.ceil(NAMED / step);
  const y = (share) => tall * (1 - share) + 4;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": describe(layers) });
  for (const share of [0, 0.5, 1]) {
    chart.append(svg("line", { x1: left, x2: width, y1: y(share), y2: y(share), class: "axis" }));
    chart.append(svg("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share, 0)));
  }
  layers.forEach((layer, i) => {
    const x = left + i * step;
    const small = layer.small === null ? "" : `, ${percent(layer.small)} small`;
    const title = svg("title", {}, `${layer.name}: ${percent(layer.zeros)}${small}`);
    const barTo = (share, kind) => svg("rect", { x: x + step * 0.1, width: step * 0.8, y: y(share), height: y(0) - y(share), class: kind });
    const bar = barTo(layer.zeros, "zeros");
    if (layer.small !== null) chart.append(barTo(layer.small, "small"));
    const hit = svg("rect", { x, width: step, y: y(1), height: height - y(1), class: "hit" }, title);
    bar.dataset.layer = layer.name;
    hit.addEventListener("click", () => choose(layer.name));
    if (i % every === 0) chart.append(svg("text", { transform: `translate(${x + step / 2 + 4} ${y(0) + 8}) rotate(-90)`, "text-anchor": "end" }, names[i]));
    chart.append(bar, hit);
  });
  return chart;
}

/** Shorten names: without the folder that all have in common, and to the end of what is too long. */
function shortened(names) {
  const folder = names[0].split(".").slice(0, -1);
  const common = folder.findIndex((part, depth) => names.some((name) => name.split(".")[depth] !== part));
  const skipped = folder.slice(0, common < 0 ? undefined : common).map((part) => `${part}.`).join("").length;
  return names.map((name) => name.slice(skipped)).map((name) => (name.length > LONGEST ? `…${name.slice(1 - LONGEST)}` : name));
}

function describe(layers) {
  const shares = layers.map((layer) => layer.zeros);
  return `Share of zeros after ${layers.length} activations, from ${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}`;
}

/** Draw a distance and the thresholds, over the histogram of the distances of pairs if there is one. */
export function distanceChart({ distance, threshold, thresholds, histogram }) {
  const width = room(640);
  const [left, top, height] = [8, 32, histogram ? 150 : 46];
  const bins = histogram ? histogram.width * histogram.same.length : 0;
  const end = Math.max(bins, 1.15 * distance, ...thresholds.map((t) => 1.15 * t.distance));
  const x = (d) => left + (width - 2 * left) * (d / end);
  const label = `Distance ${distance.toFixed(3)}; a match is up to ${threshold.distance.toFixed(3)}`;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${top + height + 26}`, width, class: "chart scale", role: "img", "aria-label": label });
  const zone = (from, to, kind) => svg("rect", { x: x(from), width: x(to) - x(from), y: top, height, class: kind });
  chart.append(zone(0, threshold.distance, "within"), zone(threshold.distance, end, "beyond"));
  if (histogram) chart.append(...pairBars(histogram, x, top, height));
  for (const t of thresholds) {
    const chosen = t.target_fmr === threshold.target_fmr;
    chart.append(svg("line", { x1: x(t.distance), x2: x(t.distance), y1: top - 6, y2: top + height + 6, class: chosen ? "threshold" : "other" }));
    if (chosen) chart.append(svg("text", { x: x(t.distance), y: top + height + 22, "text-anchor": "middle", class: "strong" }, `match up to ${t.distance.toFixed(3)}`));
  }
  const middle = top + height / 2;
  chart.append(svg("line", { x1: x(distance), x2: x(distance), y1: top - 6, y2: top + height, class: "here" }));
  chart.append(svg("circle", { cx: x(distance), cy: middle, r: 9, class: "distance" }));
  const anchor = distance < 0.1 * end ? "start" : distance > 0.9 * end ? "end" : "middle";
  chart.append(svg("text", { x: x(distance), y: 18, "text-anchor": anchor, class: "strong" }, `distance ${distance.toFixed(3)}`));
  chart.append(svg("text", { x: left, y: top + height + 22 }, "0: identical"));
  return chart;
}

/** Draw the histograms of both kinds of pairs on one scale, as shares of their kind. */
function pairBars({ width, same, different }, x, top, height) {
  const shares = (counts) => counts.map((count) => count / counts.reduce((a, b) => a + b));
  const kinds = { same: shares(same), different: shares(different) };
  const most = Math.max(...kinds.same, ...kinds.different);
  const bar = (share, i, kind) => {
    const tall = (share / most) * (height - 8);
    const title = svg("title", {}, `${percent(share)} of pairs of ${kind === "same" ? "one person" : "two people"} have a distance from ${(i * width).toFixed(3)} to ${((i + 1) * width).toFixed(3)}`);
    return svg("rect", { x: x(i * width), width: x(width) - x(0), y: top + height - tall, height: tall, class: `pairs ${kind}` }, title);
  };
  return Object.entries(kinds).flatMap(([kind, all]) => all.map((share, i) => bar(share, i, kind)));
}

/** Draw the channels with the largest mean magnitude, of C x H x W, as grey pictures on one scale. */
export function featureMaps({ shape, values }, most = 24) {
  const [channels, height, width] = shape;
  const size = height * width;
  const means = Array.from({ length: channels }, (_, c) => {
    let sum = 0;
    for (let i = c * size; i < (c + 1) * size; i++) sum += Math.abs(values[i]);
    return sum / size;
  });
  const order = [...means.keys()].sort((a, b) => means[b] - means[a]).slice(0, most);
  const shown = order.map((c) => values.subarray(c * size, (c + 1) * size));
  const low = Math.min(0, ...shown.map((map) => map.reduce((a, b) => Math.min(a, b))));
  const high = Math.max(1e-12, ...shown.map((map) => map.reduce((a, b) => Math.max(a, b))));
  return order.map((channel, i) => {
    const canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    shown[i].forEach((value, p) => {
      const grey = (255 * (value - low)) / (high - low);
      image.data.set([grey, grey, grey, 255], 4 * p);
    });
    context.putImageData(image, 0, 0);
    return make("figure", {}, canvas, make("figcaption", {}, `channel ${channel}`));
  });
}
