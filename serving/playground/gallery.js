// The gallery of faces: list, enrol, erase and identify people.

import { askJson, form, personPath, Problem } from "./api.js";
import { naming, pictureInput } from "./input.js";
import { announce, byId, make, taskRunner } from "./page.js";
import { bytesOf, showCode } from "./snippet.js";

const IDENTIFY = "/v1/faces/identify?top=3&several=all";

export function setUpGallery() {
  const run = taskRunner(byId("gallery"), byId("gallery-problem"));
  const portrait = pictureInput("portrait", "A picture of the person");
  const who = pictureInput("who", "Drop, paste or choose a picture", identify);
  let next = 0;

  document.querySelector("[data-pictures=who]").append(who.element);
  document.querySelector("[data-pictures=portrait]").append(portrait.element);
  byId("more").addEventListener("click", () => run(page));
  byId("enrol").addEventListener("submit", (event) => {
    event.preventDefault();
    enrol(byId("person").value);
  });

  async function list(signal) {
    const { people, pictures, search, keeps_pictures: kept } = await askJson("/v1/faces", { signal });
    byId("gallery-note").textContent =
      `Enrolled: ${count(people, "person", "people")}, ${count(pictures, "picture", "pictures")}. The search is ${search.kind}. Enrolled pictures are ${kept ? "kept" : "not kept, only their embeddings"}.`;
    byId("people").replaceChildren();
    byId("candidates").replaceChildren(); // these people may have been erased
    next = 0;
    await page(signal);
  }

  async function page(signal) {
    const answer = await askJson(`/v1/faces/people?after=${next}&limit=50`, { signal });
    byId("people").append(...answer.people.map(entry));
    next = answer.next;
    byId("more").hidden = next === null;
  }

  function entry({ person, pictures, created }) {
    const since = `${count(pictures, "picture", "pictures")}, since ${new Date(created).toLocaleDateString()}`;
    const button = make("button", { type: "button", className: "danger" }, "Erase");
    button.setAttribute("aria-label", `Erase ${person}`);
    button.addEventListener("click", () => erase(person));
    return make("li", {}, make("span", {}, person, make("br"), make("small", {}, since)), button);
  }

  function enrol(person) {
    run(async (signal) => {
      if (!portrait.file) throw new Problem({ title: "No picture was chosen", detail: `Choose a picture of ${person}.` });
      const headers = { "Idempotency-Key": randomKey() };
      const body = form({ image: portrait.file });
      const file = portrait.file;
      await askJson(`${personPath(person)}/pictures`, { method: "PUT", body, headers, signal }).catch((error) => {
        throw naming(error, file);
      });
      byId("receipt").replaceChildren(make("p", {}, `${person} is enrolled.`));
      portrait.clear();
      byId("person").value = "";
      await list(signal);
    });
  }

  function erase(person) {
    const dialog = byId("confirm");
    byId("confirm-question").textContent = `Erase ${person} and all their pictures? This cannot be undone.`;
    dialog.returnValue = "no";
    dialog.onclose = () => {
      if (dialog.returnValue !== "yes") return;
      run(async (signal) => {
        const receipt = await askJson(personPath(person), { method: "DELETE", signal });
        showReceipt(receipt);
        await list(signal);
        byId("receipt").focus();
      });
    };
    dialog.showModal();
  }

  function showReceipt({ person, embeddings, kept_pictures: kept, at, change, erased, remains }) {
    byId("receipt").replaceChildren(
      make("h2", {}, "Receipt"),
      make("p", {}, `${person}: ${count(embeddings, "embedding", "embeddings")} and ${count(kept, "kept picture", "kept pictures")} were removed on ${new Date(at).toLocaleString()} (change ${change}).`),
      make("p", {}, `${erased ? "No byte of them is left in the database's files." : "Traces of them are left in the database's files."} What remains:`),
      make("ul", {}, ...remains.map((what) => make("li", {}, what))),
    );
  }

  function identify() {
    byId("candidates").replaceChildren();
    byId("identify-code").hidden = true;
    run(async (signal) => {
      const file = who.file;
      const answer = await askJson(IDENTIFY, { method: "POST", body: form({ image: file }), signal }).catch((error) => {
        throw naming(error, file);
      });
      showPeople(answer.pictures);
      showCode(byId("identify-code"), IDENTIFY, [["image", file]], [`answer = client.identify([${bytesOf(file)}], top=3, several="all")`]);
    });
  }

  /** Say who each face of the picture is, and frame the faces, with the same numbers. */
  function showPeople(faces) {
    const number = (i) => (faces.length > 1 ? `${i + 1}: ` : "");
    const nameOf = ({ result, people }) => ({ known: people[0]?.person, unknown: "Nobody who is enrolled", cannot_say: "Cannot say" })[result];
    const line = ({ person, distance, within }) => make("li", {}, `${person}: distance ${distance.toFixed(3)}, ${within ? "within" : "beyond"} the threshold`);
    who.mark(faces[0].face.size, faces.flatMap((entry, i) => {
      const { box } = entry.face;
      const text = `${number(i)}${entry.result === "known" ? `${entry.people[0].person} · ${entry.people[0].distance.toFixed(2)}` : entry.result === "unknown" ? "unknown" : "cannot say"}`;
      return box ? [{ box, text, chosen: entry.result === "known" }] : [];
    }));
    byId("candidates").replaceChildren(...faces.flatMap((entry, i) => [
      make("p", { className: `verdict ${entry.result}` }, number(i) + nameOf(entry)), make("p", {}, entry.reason ?? ""), make("ul", {}, ...entry.people.map(line)),
    ]));
    announce(faces.map((entry, i) => number(i) + nameOf(entry)).join("; "));
  }

  return { inputs: [who, portrait], again: () => run(list) };
}

const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** Return 128 random bits in hexadecimal. Browsers offer `randomUUID` only in secure contexts. */
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
