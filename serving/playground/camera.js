// The dialog of the camera: shows what it sees, what the model makes of it, and takes a picture.

import { Problem } from "./api.js";
import { byId, make, problemOf, showProblem } from "./page.js";

const SIDE = 640; // px; longest side of the pictures that are sent while the camera runs
const PAUSE = 250; // ms between an answer and the next of these pictures

const REFUSALS = {
  NotAllowedError: "The browser keeps this page from using the camera. Allow it in the browser's settings for this page, or choose a picture.",
  NotFoundError: "This machine has no camera that the browser can use. Choose a picture instead.",
  NotReadableError: "The camera is in use by another program, or does not work. Close that program, or choose a picture.",
};

/** Open the camera; `taken` gets the picture. `glance(file, signal)` says what a picture shows; null offers no such answers. */
export async function openCamera(taken, glance) {
  const [dialog, video] = [byId("camera"), byId("camera-video")];
  const closed = new AbortController();
  let stream = null;
  byId("camera-answer").textContent = "";
  byId("camera-live").checked = false;
  byId("camera-live-field").hidden = !glance;
  const usable = (yes) => ["camera-take", "camera-live"].forEach((id) => (byId(id).disabled = !yes));
  usable(false);
  showProblem(byId("camera-problem"), null);
  dialog.onclose = () => {
    closed.abort();
    stream?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  dialog.showModal();
  try {
    stream = await streamOf();
    if (closed.signal.aborted) return dialog.onclose();
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    if (!closed.signal.aborted) showProblem(byId("camera-problem"), error.name in REFUSALS ? new Problem({ title: "No camera", detail: REFUSALS[error.name] }) : problemOf(error));
    return;
  }
  byId("camera-take").onclick = async () => {
    const file = await pictureOf(video, Infinity);
    dialog.close();
    taken(file);
  };
  byId("camera-live").onchange = () => answerLive(video, glance, closed.signal);
  usable(true);
}

/** Ask for the camera at the back of a phone, or any other. */
async function streamOf() {
  if (navigator.mediaDevices?.getUserMedia) return navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  throw new Problem({
    title: "No camera",
    detail: isSecureContext
      ? "This browser offers no camera to pages. Choose a picture instead."
      : `Browsers offer the camera only to pages that come over https, or from the machine itself (localhost); this one comes from ${location.origin}. Choose a picture instead: a phone offers to take one there.`,
  });
}

async function answerLive(video, glance, signal) {
  const live = byId("camera-live");
  while (live.checked && !signal.aborted) {
    try {
      byId("camera-answer").textContent = await glance(await pictureOf(video, SIDE), signal);
    } catch (error) {
      if (signal.aborted) return;
      live.checked = false;
      showProblem(byId("camera-problem"), problemOf(error));
    }
    await new Promise((resume) => setTimeout(resume, PAUSE));
  }
  byId("camera-answer").textContent = "";
}

/** Return what the camera sees as a JPEG, with a longest side of at most `most` px. */
async function pictureOf(video, most) {
  const scale = Math.min(1, most / Math.max(video.videoWidth, video.videoHeight));
  const canvas = make("canvas", { width: Math.round(scale * video.videoWidth), height: Math.round(scale * video.videoHeight) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}
