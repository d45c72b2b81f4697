// Sends requests to the server of this page.

/** A refusal in the words of the API (RFC 9457), or the fact that no answer came. */
export class Problem extends Error {
  constructor({ title, detail, code = "", status = 0, picture = null }) {
    super(detail);
    Object.assign(this, { title, detail, code, status, picture });
  }
}

let key = ""; // kept in the memory of this page only

/** Whether requests are sent with a key. */
export const hasKey = () => key !== "";

/** Send this API key with all further requests; no key if it is empty. */
export const useKey = (given) => (key = given.trim());

/** Return the answer to a request. If it needs a key, the page is notified by the event `keywanted`. */
export async function ask(path, { headers = {}, ...options } = {}) {
  if (key) headers = { ...headers, Authorization: `Bearer ${key}` };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The server does not answer", detail: "Check that it is running, then try again.", code: "no-answer" });
  }
  if ([401, 403].includes(response.status)) dispatchEvent(new Event("keywanted"));
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** Return the answer to a request, parsed as JSON. */
export const askJson = async (path, options) => (await ask(path, options)).json();

/** Make a multipart form from {field: file}. */
export function form(files) {
  const data = new FormData();
  for (const [field, file] of Object.entries(files)) data.append(field, file);
  return data;
}

/** Return the address of a model. */
export const modelPath = (name) => `/v1/models/${encodeURIComponent(name)}`;

/** Return the address of a person. Browsers would resolve `..` as the parent folder, even if it is encoded. */
export function personPath(person) {
  if (person === "." || person === "..") {
    throw new Problem({ title: "This id cannot be used here", detail: `A browser cannot request the address of a person called ${person}; choose another id.`, code: "bad-person" });
  }
  return `/v1/faces/people/${encodeURIComponent(person)}`;
}

async function problemOf(response) {
  const text = await response.text();
  const wait = response.headers.get("Retry-After");
  const later = wait ? ` Try again in ${wait} s.` : "";
  try {
    const problem = JSON.parse(text);
    const detail = problem.detail.replace(`picture ${problem.picture}: `, ""); // the page names files, and numbers nothing
    return new Problem({ ...problem, detail: detail + later });
  } catch {
    return new Problem({ title: `Status ${response.status}`, detail: (text.slice(0, 300) || response.statusText) + later, status: response.status });
  }
}

/** Parse a .npy file (NEP 1) of little-endian float32: {shape, values}. */
export function parseNpy(buffer) {
  const view = new DataView(buffer);
  const wide = view.getUint8(6) > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, start, length));
  if (!header.includes("'<f4'") || !header.includes("'fortran_order': False")) throw new Error(`unexpected array: ${header}`);
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((n) => n.trim()).map(Number);
  return { shape, values: new Float32Array(buffer.slice(start + length)) };
}
