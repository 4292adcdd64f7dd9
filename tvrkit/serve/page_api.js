// Everything the page asks of the server; what goes wrong comes as a Problem whose message can be shown.

const KEY = "tvrkit-token";
const SENTENCES = {
  401: "This server wants its token: open the address that `tvrkit serve` printed, or put the token in here.",
  413: "That is too large for the server.",
  429: "The server has too much to do just now: try again in a moment.",
  503: "The server cannot answer just now: try again in a moment.",
};

export class Problem extends Error {
  /** @param {number} status of the answer; 0 when there was none */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let token = sessionStorage.getItem(KEY);

/** Take the token out of the address, so that it is in no bookmark and no history, and let pictures be fetched with it. */
export async function begin() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) history.replaceState(history.state, "", location.pathname + location.search);
  if (given || token) await signIn(given || token);
}

/** Keep a token, and have the server set the cookie that pictures and videos are fetched with. */
export async function signIn(given) {
  token = given;
  sessionStorage.setItem(KEY, given);
  await ask("session", { method: "POST" });
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) : "");

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(`api/${path}`, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is `tvrkit serve` still running?", 0);
  }
  const said = answer.headers.get("Content-Type")?.includes("json") ? await answer.json() : {};
  if (answer.ok) return said;
  if (answer.status === 401 && !token) throw new Problem(SENTENCES[401], 401);
  throw new Problem(sentence(said.error) || SENTENCES[answer.status] || `The server answered ${answer.status}.`, answer.status);
}

const post = (path, body, type, signal) =>
  ask(path, { method: "POST", body, signal, headers: { "Content-Type": type } });

export const search = (question, signal) => post("search", JSON.stringify(question), "application/json", signal);
export const keepPicture = async (file) => (await post("images", file, file.type || "application/octet-stream")).id;
export const facts = (video) => ask(`videos/${encodeURIComponent(video)}`);
export const folders = () => ask("folders");
export const status = () => ask("status");

/** Why a picture or video did not come, in words; "" when it does come. */
export async function reason(address) {
  try {
    await ask(address.replace(/^api\//, ""), { headers: { Range: "bytes=0-0" } });
    return "";
  } catch (problem) {
    return problem.message;
  }
}

/** Words against the frames of one moment. */
export function explain(video, moment, query) {
  return ask(`videos/${encodeURIComponent(video)}/explain?${new URLSearchParams({ query, moment })}`);
}

/** Addresses for <img> and <video>; these go with the cookie. */
export function thumbnail(video, seconds, width) {
  return `api/videos/${encodeURIComponent(video)}/thumbnail?at=${seconds.toFixed(2)}&width=${width}`;
}
export const file = (video) => `api/videos/${encodeURIComponent(video)}/file`;
export function clip(video, start, end) {
  return `api/videos/${encodeURIComponent(video)}/clip?start=${start.toFixed(2)}&end=${end.toFixed(2)}`;
}
