// The place of one picture in a model's atlas: its neighbours, and a map.

import { ask, askJson, form, Problem } from "./api.js";
import { room } from "./charts.js";
import { make, svg } from "./page.js";

const [WIDTH, SMALL, LARGE] = [640, 22, 44]; // sides in px: the map, the known pictures on it, the user's picture
const SHOWN = 512; // px; largest width of the map on the page
const [LETTER, LINE] = [8.5, 18]; // px; size of a letter of the classes' names on the map, at most
const known = new Map(); // address of a model -> the promise of its atlas, which is requested once

/** Request a model's atlas with its sheet; throws a Problem if it has none. */
export function atlasOf(path) {
  if (!known.has(path)) {
    const requested = requestAtlas(path);
    known.set(path, requested);
    requested.catch(() => known.delete(path));
  }
  return known.get(path);
}

async function requestAtlas(path) {
  const atlas = await askJson(`${path}/atlas`);
  const sheet = await ask(`${path}/atlas/sheet?of=${atlas.model.hash.slice(0, 8)}`);
  return { ...atlas, sheet: await createImageBitmap(await sheet.blob()) };
}

/** Return the elements that show a picture's neighbours and map; without an atlas, a note on how to make one. */
export async function surroundings(path, file, signal) {
  try {
    const atlas = await atlasOf(path);
    const found = await askJson(`${path}/neighbours?top=10`, { method: "POST", body: form({ image: file }), signal });
    return drawn(atlas, found.pictures[0], await bitmapOf(file));
  } catch (error) {
    if (error instanceof Problem && error.code === "no-atlas") return [make("p", { className: "note" }, error.detail)];
    throw error;
  }
}

/** Decode the picture, upright; null if the browser does not support the format. */
const bitmapOf = (file) => createImageBitmap(file).catch(() => null);

/** Draw a picture of an atlas, by its number. */
export function drawFrom({ sheet, side, columns }, number, context, x, y, size) {
  context.drawImage(sheet, (number % columns) * side, Math.floor(number / columns) * side, side, side, x, y, size, size);
}

const classOf = ({ label, predicted }) => label || predicted;

function drawn(atlas, { place, nearest }, bitmap) {
  const cells = nearest.map(({ number, label, distance }) => {
    const canvas = make("canvas", { width: atlas.side, height: atlas.side });
    drawFrom(atlas, number, canvas.getContext("2d"), 0, 0, atlas.side);
    return make("figure", {}, canvas, make("figcaption", {}, `${label || atlas.pictures[number].predicted} `, make("small", {}, distance.toPrecision(3))));
  });
  const labels = nearest.map(({ label }) => label).filter(Boolean);
  const side = room(SHOWN);
  const map = make("div", { className: "map" }, picturesOf(atlas, place, nearest, bitmap, labels), namesOf(atlas, place, nearest, side));
  return [
    make("div", { className: "cells", id: "nearest" }, ...cells),
    map,
    make("p", { className: "note" },
      `The ten nearest pictures of ${atlas.data}, with the Euclidean distances of their features, and a t-SNE map of all its pictures, with the name of each class at the middle of its pictures. ` +
      "The model finds neighbours on the map similar; distances between groups that are far apart have no meaning. Your picture is the large one, at the median of the ten nearest, which are framed."),
  ];
}

/** Return the top left corner of a square on the map, whose own side is `width`. */
function corner({ x, y }, side, width = WIDTH) {
  const margin = (LARGE / 2) * (width / WIDTH);
  return [margin + x * (width - 2 * margin) - side / 2, margin + y * (width - 2 * margin) - side / 2];
}

function picturesOf(atlas, place, nearest, bitmap, labels) {
  const label = `A map of ${atlas.pictures.length} pictures; yours lies ${labels.length ? `near ${[...new Set(labels)].join(", ")}` : "among the framed ones"}`;
  const canvas = make("canvas", { width: WIDTH, height: WIDTH, id: "atlas", role: "img", ariaLabel: label });
  const context = canvas.getContext("2d");
  const near = new Set(nearest.map(({ number }) => number));
  const draw = (i) => drawFrom(atlas, i, context, ...corner(atlas.pictures[i], SMALL), SMALL);
  atlas.pictures.forEach((_, i) => near.has(i) || draw(i));
  near.forEach(draw);
  if (bitmap) {
    const scale = LARGE / Math.max(bitmap.width, bitmap.height);
    const [x, y] = corner(place, LARGE);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    context.drawImage(bitmap, x + (LARGE - width) / 2, y + (LARGE - height) / 2, width, height);
  }
  return canvas;
}

/** Frame the neighbours and the user's picture, and name the classes, in px of the page. */
function namesOf(atlas, place, nearest, side) {
  const scale = side / WIDTH;
  const frame = (point, size, kind) => {
    const [x, y] = corner(point, size * scale, side);
    return svg("rect", { x, y, width: size * scale, height: size * scale, class: kind });
  };
  const [left, top] = corner(place, LARGE * scale, side);
  const own = { left, top, width: LARGE * scale, height: LARGE * scale };
  const names = placed(middles(atlas), own, side).map(({ name, x, y }) => svg("text", { x, y, "text-anchor": "middle" }, name));
  // the frames of the neighbours lie behind the user's picture
  const behind = svg("path", { d: `M0 0H${side}V${side}H0Z M${left} ${top}h${own.width}v${own.height}h${-own.width}z`, "clip-rule": "evenodd" });
  const frames = nearest.map(({ number }) => frame(atlas.pictures[number], SMALL, "near"));
  return svg("svg", { viewBox: `0 0 ${side} ${side}`, "aria-hidden": "true" },
    svg("clipPath", { id: "behind" }, behind), svg("g", { "clip-path": "url(#behind)" }, ...frames), frame(place, LARGE, "around"), frame(place, LARGE, "own"), ...names);
}

/** Return the classes of an atlas, those with most pictures first, each at the median of its pictures. */
function middles(atlas) {
  const groups = new Map();
  for (const picture of atlas.pictures) groups.set(classOf(picture), [...(groups.get(classOf(picture)) ?? []), picture]);
  const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
  return [...groups].sort(([, a], [, b]) => b.length - a.length).map(([name, all]) => ({ name, x: median(all.map(({ x }) => x)), y: median(all.map(({ y }) => y)) }));
}

/** Find room for names, as near to their places as they can be without overlap; names without room are left out. */
function placed(classes, own, side) {
  const taken = [own];
  const free = (box) => taken.every((other) => box.left + box.width <= other.left || other.left + other.width <= box.left || box.top + LINE <= other.top || other.top + other.height <= box.top);
  return classes.flatMap(({ name, ...middle }) => {
    const width = name.length * LETTER;
    const [x, y] = corner(middle, 0, side);
    const centre = Math.min(Math.max(x, width / 2), side - width / 2);
    for (const lines of [0, -1, 1, -2, 2, -3, 3]) {
      const box = { left: centre - width / 2, top: y + (lines - 0.5) * LINE, width, height: LINE };
      if (box.top < 0 || box.top + LINE > side || !free(box)) continue;
      taken.push(box);
      return [{ name, x: centre, y: box.top + 0.75 * LINE }];
    }
    return [];
  });
}
