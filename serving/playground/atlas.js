// The place of one picture in a model's atlas: its neighbours, and a map.

import { ask, askJson, form, Problem } from "./api.js";
import { make } from "./page.js";

const [WIDTH, SMALL, LARGE] = [640, 22, 44]; // sides in px: the map, the known pictures on it, the user's picture
const known = new Map(); // address of a model -> its atlas, which is requested once

/** Request a model's atlas with its sheet; throws a Problem if it has none. */
async function atlasOf(path) {
  const atlas = await askJson(`${path}/atlas`);
  const sheet = await ask(`${path}/atlas/sheet?of=${atlas.model.hash.slice(0, 8)}`);
  return { ...atlas, sheet: await createImageBitmap(await sheet.blob()) };
}

/** Return the elements that show a picture's neighbours and map; without an atlas, a note on how to make one. */
export async function surroundings(path, file, signal) {
  try {
    if (!known.has(path)) known.set(path, await atlasOf(path));
    const found = await askJson(`${path}/neighbours?top=10`, { method: "POST", body: form({ image: file }), signal });
    return drawn(known.get(path), found.pictures[0], await bitmapOf(file));
  } catch (error) {
    if (error instanceof Problem && error.code === "no-atlas") return [make("p", { className: "note" }, error.detail)];
    throw error;
  }
}

/** Decode the picture, upright; null if the browser does not support the format. */
const bitmapOf = (file) => createImageBitmap(file).catch(() => null);

function drawn(atlas, { place, nearest }, bitmap) {
  const cells = nearest.map(({ number, label, distance }) => {
    const canvas = make("canvas", { width: atlas.side, height: atlas.side });
    drawFrom(atlas, number, canvas.getContext("2d"), 0, 0, atlas.side);
    return make("figure", {}, canvas, make("figcaption", {}, `${label || atlas.pictures[number].predicted} ${distance.toPrecision(3)}`));
  });
  const labels = nearest.map(({ label }) => label).filter(Boolean);
  return [
    make("div", { className: "cells", id: "nearest" }, ...cells),
    mapOf(atlas, place, nearest, bitmap, labels),
    make("p", { className: "note" },
      `The ten nearest pictures of ${atlas.data}, with the Euclidean distances of their features, and a t-SNE map of all its pictures. The model finds neighbours on the map similar; ` +
      "distances between groups that are far apart have no meaning. Your picture is the large one, at the median of the ten nearest, which are framed."),
  ];
}

function mapOf(atlas, place, nearest, bitmap, labels) {
  const label = `A map of ${atlas.pictures.length} pictures; yours lies ${labels.length ? `near ${[...new Set(labels)].join(", ")}` : "among the framed ones"}`;
  const canvas = make("canvas", { width: WIDTH, height: WIDTH, id: "atlas", role: "img", ariaLabel: label });
  const context = canvas.getContext("2d");
  const colours = getComputedStyle(document.documentElement);
  const ink = (name) => colours.getPropertyValue(name);
  const corner = ({ x, y }, side) => [LARGE / 2 + x * (WIDTH - LARGE) - side / 2, LARGE / 2 + y * (WIDTH - LARGE) - side / 2];
  const frame = (point, side, colour, width) => {
    const [x, y] = corner(point, side);
    Object.assign(context, { strokeStyle: colour, lineWidth: width });
    context.strokeRect(x, y, side, side);
  };
  const near = new Set(nearest.map(({ number }) => number));
  atlas.pictures.forEach((picture, i) => near.has(i) || drawFrom(atlas, i, context, ...corner(picture, SMALL), SMALL));
  for (const number of near) {
    drawFrom(atlas, number, context, ...corner(atlas.pictures[number], SMALL), SMALL);
    frame(atlas.pictures[number], SMALL, ink("--accent"), 3);
  }
  if (bitmap) {
    const scale = LARGE / Math.max(bitmap.width, bitmap.height);
    const [x, y] = corner(place, LARGE);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    context.drawImage(bitmap, x + (LARGE - width) / 2, y + (LARGE - height) / 2, width, height);
  }
  frame(place, LARGE, ink("--paper"), 7);
  frame(place, LARGE, ink("--ink"), 3);
  return canvas;
}

function drawFrom({ sheet, side, columns }, number, context, x, y, size) {
  context.drawImage(sheet, (number % columns) * side, Math.floor(number / columns) * side, side, side, x, y, size, size);
}
