// What the user says about the answer to a picture: whether it is right, and what would be.

import { askJson } from "./api.js";
import { byId, make, taskRunner } from "./page.js";

export function setUpFeedback() {
  const run = taskRunner(byId("feedback"), byId("feedback-problem"));
  let id = "";
  let picture = null;

  byId("feedback-right").addEventListener("click", () => send("verdict", ["right"]));
  byId("feedback-wrong").addEventListener("click", () => send("verdict", ["wrong"]));
  byId("feedback-erase").addEventListener("click", erase);
  byId("feedback").addEventListener("submit", (event) => {
    event.preventDefault();
    const labels = [...byId("feedback-label").selectedOptions].map(({ value }) => value);
    send("label", labels.length ? labels : [""]); // an empty field says that no class is right
  });

  function hide() {
    byId("feedback").hidden = true;
    run(async () => {}); // aborts what is under way, and clears its problem
  }

  /** Ask about an answer; servers that take no feedback give it no id. */
  function show({ feedback, task, pictures: [answer] }, classes, file) {
    if (!answer.id) return;
    [id, picture] = [answer.id, file];
    const several = task === "multi-label";
    const select = byId("feedback-label");
    byId("feedback-question").textContent = several ? "The right classes, any number of them" : "The right class";
    Object.assign(select, { multiple: several, size: several ? Math.min(classes.length, 6) : 0 });
    const order = several ? classes : [...new Set([...answer.top.map(({ class: name }) => name), ...classes])];
    select.replaceChildren(...order.map((name) => make("option", { value: name }, name)));
    byId("feedback-keep").checked = false;
    byId("feedback-keep-field").hidden = feedback !== "pictures";
    done("");
    byId("feedback").hidden = false;
  }

  function send(field, values) {
    const body = new FormData();
    body.append("answer", id);
    for (const value of values) body.append(field, value);
    if (byId("feedback-keep").checked) body.append("image", picture);
    run(async (signal) => {
      const stored = await askJson("/v1/feedback", { method: "POST", body, signal });
      const verdict = stored.correct ? "as right" : stored.labels === null ? "as wrong" : `as ${stored.labels.join(", ") || "none of the classes"}`;
      done(`Stored ${verdict}, ${stored.picture ? "with" : "without"} the picture, until ${stored.expires.slice(0, 10)}.`, true);
    });
  }

  function erase() {
    run(async (signal) => {
      await askJson(`/v1/feedback/${encodeURIComponent(id)}`, { method: "DELETE", signal });
      done("Erased.");
    });
  }

  function done(text, erasable = false) {
    byId("feedback-note").textContent = text;
    byId("feedback-erase").hidden = !erasable;
  }

  return { hide, show };
}
