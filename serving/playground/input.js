// The areas to drop, paste, photograph or choose pictures, with what is drawn over the picture.

import { Problem } from "./api.js";
import { openCamera } from "./camera.js";
import { announce, make, svg } from "./page.js";

const COVERED = 240; // px; least length of the longer side of a picture that another one covers

/**
 * Make an area for one picture; `picked` is called with each picture.
 *
 * With `many`, several pictures can be given at once, and are handed to that function. `glance` says what a picture of
 * the camera shows, while it is open.
 */
export function pictureInput(name, text, picked = () => {}, { many = null, glance = null } = {}) {
  const input = make("input", { type: "file", accept: "image/*", id: `file-${name}`, multiple: Boolean(many), ariaLabel: text });
  const boxes = svg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
  const tags = make("div", { className: "tags" });
  const image = make("img", { alt: "" });
  const overlay = make("img", { className: "overlay", alt: "", hidden: true });
  const shown = make("div", { className: "shown", hidden: true }, image, overlay, boxes, tags);
  const hint = make("span", {}, text);
  const area = make("label", { className: "drop" }, shown, hint, input);
  const element = make("div", {}, area, make("div", { className: "tools" }, tool("Camera", () => openCamera(take, glance)), tool("Paste", paste)));
  const state = { element, file: null, give, take, mark, cover, clear };

  function tool(label, act) {
    const button = make("button", { type: "button", className: "quiet", ariaLabel: `${label}: ${text}` }, label);
    button.addEventListener("click", act);
    return button;
  }

  /** Take the picture of a list of files, or hand several on. */
  function give(files) {
    if (many && files.length > 1) many([...files]);
    else if (files.length) take(files[0]);
  }

  function take(file) {
    state.file = file;
    URL.revokeObjectURL(image.src);
    mark(null);
    cover(null);
    shown.hidden = true;
    image.onload = () => (shown.hidden = false);
    image.src = URL.createObjectURL(file);
    hint.textContent = file.name || "pasted picture";
    input.ariaLabel = `${text}; chosen: ${hint.textContent}`;
    picked(file);
  }

  /** Take what the clipboard holds; only some browsers let a page read it, and only over https. */
  async function paste() {
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((kind) => kind.startsWith("image/"));
        if (type) return take(new File([await item.getType(type)], `pasted.${type.slice(6)}`, { type }));
      }
      say("The clipboard holds no picture. Copy one, then paste it here.");
    } catch {
      say("This browser does not let a page read the clipboard: press Ctrl+V (⌘V on a Mac) here instead.");
    }
  }

  function say(sentence) {
    if (!state.file) hint.textContent = sentence;
    announce(sentence);
  }

  /** Frame faces, and label them: `faces` are {box, text, chosen}, in pixels of a picture of this size; null removes all. */
  function mark(size, faces = []) {
    if (size) boxes.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    boxes.replaceChildren(...faces.map(({ box, chosen }) => svg("rect", { x: box.left, y: box.top, width: box.width, height: box.height, class: chosen ? "chosen" : "other" })));
    tags.replaceChildren(...faces.map(({ box, text: label }) => {
      const tag = make("b", {}, label);
      const right = box.left + box.width;
      if (box.left + right < size.width) tag.style.left = `${(100 * box.left) / size.width}%`;
      else tag.style.right = `${100 - (100 * right) / size.width}%`; // so that it stays within the picture
      tag.style.top = `${(100 * (box.top + box.height)) / size.height}%`;
      return tag;
    }));
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
    mark(null);
    cover(null);
    input.value = "";
    URL.revokeObjectURL(image.src);
    image.removeAttribute("src");
    shown.hidden = true;
    hint.textContent = input.ariaLabel = text;
  }

  input.addEventListener("change", () => {
    give(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
  const over = (event) => {
    event.preventDefault();
    area.classList.toggle("over", event.type === "dragover");
  };
  area.addEventListener("dragover", over);
  area.addEventListener("dragleave", over);
  area.addEventListener("drop", (event) => {
    over(event);
    give(event.dataTransfer.files);
  });
  return state;
}

/** Return an error that names the file of a picture, where the API numbers the pictures of a request. */
export function naming(error, ...files) {
  const file = files[error.picture];
  return file ? new Problem({ ...error, detail: `${file.name || "The picture"}: ${error.detail}` }) : error;
}
