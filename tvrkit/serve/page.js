// The page. Its address says what it shows: every action changes the address, and `show` makes the page match it.

import * as api from "./page_api.js";
import { Player } from "./page_player.js";
import * as query from "./page_query.js";
import { moveFocus, showHits } from "./page_results.js";
import { count } from "./page_words.js";

const get = (id) => document.getElementById(id);
const [form, words, results, summary, problem, start] = ["search", "words", "results", "summary", "problem", "start"].map(get);
const OPENED = ["v", "m", "t", "why"]; // parts of the address that say what is open, not what is asked

let answer = { key: null, hits: [] };
let running = null; // the search under way
let lastCard = null; // where the focus goes when the player closes

const address = () => new URLSearchParams(location.search);

/** Change the address and show it. `replace` makes no step for the back button. */
function go(parameters, replace = false) {
  const text = parameters.toString();
  const target = text ? `?${text}` : location.pathname;
  if (replace || target === location.search) history.replaceState(history.state, "", target);
  else history.pushState({ inside: true }, "", target);
  return show();
}

const ask = (changes) => {
  const question = query.read(form);
  changes?.(question);
  return go(question);
};

const player = new Player(get("player"), {
  close() {
    // The back button and Esc do the same, unless the page began with the video open.
    if (history.state?.opened) return history.back();
    const parameters = address();
    OPENED.forEach((name) => parameters.delete(name));
    go(parameters, true);
  },
  moment: (number) => open(player.hit.video, { m: number, ...(address().has("why") ? { why: 1 } : {}) }),
  why() {
    const parameters = address();
    parameters.has("why") ? parameters.delete("why") : parameters.set("why", "1");
    go(parameters, true);
  },
  like,
});

function open(video, { m, t, why }) {
  const parameters = address();
  OPENED.forEach((name) => parameters.delete(name));
  parameters.set("v", video);
  for (const [name, value] of Object.entries({ m, t, why })) if (value !== undefined) parameters.set(name, value);
  if (player.isOpen) return go(parameters, true);
  lastCard = document.activeElement?.closest(".card") ? document.activeElement : null;
  history.pushState({ inside: true, opened: true }, "", `?${parameters}`);
  return show();
}

function like(video) {
  go(new URLSearchParams([...query.read(form)].filter(([name]) => !["q", "image", "like"].includes(name)).concat([["like", video]])));
  results.focus({ preventScroll: true });
  scrollTo(0, 0);
}

async function show() {
  const parameters = address();
  const question = query.questionOf(parameters);
  query.fill(form, question);
  document.title = question.has("q") ? `${question.get("q")} · tvrkit` : "tvrkit";
  if (!parameters.has("v")) closePlayer();
  const key = question.toString();
  if (key !== answer.key) await find(question, key);
  if (parameters.has("v") && address().toString() === parameters.toString()) await openAsAddressed(parameters, question);
}

function closePlayer() {
  if (!player.isOpen) return;
  player.close();
  lastCard?.focus();
}

async function find(question, key) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  answer = { key, hits: [] };
  problem.hidden = true;
  start.hidden = true;
  if (query.isEmpty(question)) {
    results.replaceChildren();
    summary.replaceChildren();
    document.body.classList.remove("busy");
    return welcome();
  }
  document.body.classList.add("busy");
  try {
    answer = { key, ...(await api.search(query.requestOf(question), signal)) };
    showHits(results, answer, { open, like }, query.explainable(question));
    summarize(answer, query.countFilters(question));
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error, key);
  }
  if (running?.signal === signal) document.body.classList.remove("busy");
}

function summarize(found, filters) {
  const lines = [];
  const line = (text, kind) => {
    const made = document.createElement("p");
    [made.textContent, made.className] = [text, kind];
    lines.push(made);
  };
  if (!found.hits.length) {
    line(filters ? "No video fits the filters." : "The index is empty: `tvrkit index DIR` fills it.", "notice");
  } else if (found.confident === false) {
    line("No confident match. The closest videos are below, but nothing stands out.", "notice");
  }
  for (const note of found.notes) line(note, "note");
  const speed = found.seconds < 0.095 ? `${Math.max(1, Math.round(found.seconds * 1000))}\u00a0ms` : `${found.seconds.toFixed(1)}\u00a0s`;
  if (found.hits.length) line(`The best ${found.hits.length} of ${count(found.videos, "video")} · ${count(found.moments, "moment")} searched in ${speed}`, "count");
  summary.replaceChildren(...lines);
}

async function welcome() {
  try {
    const { videos, moments } = await api.status();
    if (answer.key) return;
    start.querySelector("h2").textContent = videos
      ? `${count(videos, "video")}, ${count(moments, "moment")}`
      : "The index is empty: `tvrkit index DIR` fills it.";
    start.hidden = false;
  } catch (error) {
    fail(error, "");
  }
}

function fail(error, key) {
  if (!(error instanceof api.Problem)) throw error;
  if (answer.key === key) answer = { key: null, hits: [] };
  results.replaceChildren();
  summary.replaceChildren();
  start.hidden = true;
  problem.hidden = false;
  problem.querySelector("p").textContent = error.message;
  get("token").hidden = error.status !== 401;
  get("again").hidden = [400, 401, 413, 415, 422].includes(error.status);
}

async function openAsAddressed(parameters, question) {
  const video = parameters.get("v");
  const number = (name) => (parameters.has(name) ? Number(parameters.get(name)) : null);
  let hit = answer.hits.find((one) => one.video === video);
  try {
    hit ||= await fromFacts(video);
  } catch (error) {
    return fail(error, answer.key);
  }
  player.open(hit, number("m"), number("t"), {
    query: query.explainable(question) ? question.get("q") : "",
    why: parameters.has("why"),
  });
}

/** A video that the answer does not hold, as if it did. */
async function fromFacts(video) {
  const { paths, duration_seconds, moments, playable } = await api.facts(video);
  const all = { number: 0, start_seconds: 0, end_seconds: duration_seconds };
  return { video, path: paths[0], other_paths: paths.slice(1), duration_seconds, moments: moments.length ? moments : [all], playable };
}

async function addPicture(file) {
  document.body.classList.add("busy");
  try {
    const id = await query.givePicture(file);
    await ask((question) => question.append("image", id));
  } catch (error) {
    fail(error, answer.key);
  }
  document.body.classList.remove("busy");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  answer.key = null; // Enter asks again, even for the same
  ask();
});
get("filters").addEventListener("change", () => form.reportValidity() && !query.isEmpty(query.read(form)) && ask());
get("clear").addEventListener("click", () => {
  for (const field of get("filters").querySelectorAll("input, select")) field.value = "";
  ask();
});
get("filter").addEventListener("click", () => {
  get("filters").hidden = !get("filters").hidden;
  get("filter").setAttribute("aria-expanded", !get("filters").hidden);
  if (!get("filters").hidden) form.elements.in.focus();
});
get("chips").addEventListener("click", (event) => {
  const item = event.target.closest("button")?.closest("li");
  if (!item) return;
  item.remove();
  ask();
  words.focus();
});
get("picture").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) addPicture(file);
  event.target.value = "";
});
get("again").addEventListener("click", show);
get("token").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = get("token").elements.token;
  api.signIn(field.value).then(() => { field.value = ""; problem.hidden = true; prepare(); show(); }, (error) => {
    fail(error, answer.key);
    field.select();
  });
});

addEventListener("popstate", show);
addEventListener("paste", (event) => {
  const file = query.pictureIn(event.clipboardData);
  if (!file) return;
  event.preventDefault();
  addPicture(file);
});
let inside = 0; // dragenter and dragleave come for every element on the way
const dragging = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
addEventListener("dragenter", (event) => dragging(event) && document.body.classList.toggle("dropping", ++inside > 0));
addEventListener("dragleave", (event) => dragging(event) && document.body.classList.toggle("dropping", --inside > 0));
addEventListener("dragover", (event) => dragging(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!dragging(event)) return;
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dropping");
  const file = query.pictureIn(event.dataTransfer) || event.dataTransfer.files[0];
  if (file) addPicture(file);
});

const keys = get("keys");
get("help").addEventListener("click", () => keys.showModal());
keys.addEventListener("click", (event) => (event.target === keys || event.target.closest(".close")) && keys.close());

function step(by, rows = false) {
  if (!player.isOpen) return moveFocus(results, by, rows);
  const next = answer.hits[answer.hits.findIndex((hit) => hit.video === player.hit.video) + by];
  if (next && !rows) open(next.video, { m: next.moments[0].number });
}

function explainFocused() {
  if (player.isOpen) return player.find(".why").hidden || player.find(".why").click();
  document.activeElement?.closest(".card")?.querySelector(".why:not([hidden])")?.click();
}

const KEYS = {
  "/": () => words.select(),
  "?": () => keys.showModal(),
  j: () => step(1),
  k: () => step(-1),
  n: () => player.isOpen && player.step(1),
  p: () => player.isOpen && player.step(-1),
  e: explainFocused,
};
const ARROWS = { ArrowRight: [1, false], ArrowLeft: [-1, false], ArrowDown: [1, true], ArrowUp: [-1, true] };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
  const field = event.target.closest?.("input, select, textarea");
  if (field) {
    if (field !== words || event.key !== "ArrowDown" || !answer.hits.length) return;
    event.preventDefault();
    return moveFocus(results, 1, false);
  }
  if (player.isOpen && event.key === " " && !event.target.closest("button, video")) {
    event.preventDefault();
    return player.toggle();
  }
  const act = KEYS[event.key] || (!player.isOpen && ARROWS[event.key] && (() => step(...ARROWS[event.key])));
  if (!act || (player.isOpen && event.key === "/")) return;
  event.preventDefault();
  act();
});

/** What the form offers; a search does not wait for it. */
function prepare() {
  query.loadFolders(form).catch(() => {}); // the search itself will say what is wrong
}

api.begin().then(() => { prepare(); return show(); }, (error) => fail(error, null));
if (!address().has("q") && !matchMedia("(pointer: coarse)").matches) words.focus();
