// The request that the page has just sent, as a command of curl and as Python, to copy.

import { hasKey } from "./api.js";
import { copy, make } from "./page.js";

/** Show how to repeat a request: `path` with query, `files` as [form field, file] and lines of Python that set `answer`. */
export function showCode(place, path, files, python) {
  place.replaceChildren(
    make("summary", {}, "The same request in code"),
    block("curl", curlOf(path, files)),
    block("Python", ["from pathlib import Path", "from serving.client import connect", "", `client = connect(${literal(location.origin)})`, ...python, "print(answer.model_dump_json(indent=2))"].join("\n")),
    make("p", { className: "note" }, hasKey() ? "Both read the API key from the variable VITRINE_KEY. " : "", "Pictures are read from the folder that you are in. The Python client is part of Vitrine."),
  );
  place.hidden = false;
}

/** Write a value as a literal of Python; JSON's strings are ones. */
export const literal = (value) => JSON.stringify(value);

/** Write the bytes of a file in Python. */
export const bytesOf = (file) => `Path(${literal(nameOf(file))}).read_bytes()`;

const nameOf = (file) => file.name || "picture.png";

function curlOf(path, files) {
  const fields = files.map(([field, file]) => `-F ${quoted(`${field}=@${fileOf(nameOf(file))}`)}`);
  const key = hasKey() ? ["-H \"Authorization: Bearer $VITRINE_KEY\""] : [];
  return ["curl", ...key, ...fields, quoted(location.origin + path)].join(" ");
}

/** Quote a name as curl reads it in a form, where `;` and `,` separate. */
const fileOf = (name) => (/[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name);

/** Quote a word for a shell. */
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function block(language, text) {
  const button = make("button", { type: "button", className: "quiet" }, "Copy");
  button.setAttribute("aria-label", `Copy the ${language} code`);
  button.addEventListener("click", () => copy(text, button));
  return make("div", { className: "code" }, make("h3", {}, language), button, make("pre", { tabIndex: 0 }, text));
}
