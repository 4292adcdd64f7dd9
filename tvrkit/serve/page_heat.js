// Why a video was found: each word of the search against each frame of a moment, as a table to look at and to click.

import * as api from "./page_api.js";
import { element, printable, share, time } from "./page_words.js";

const WIDTH = 160;
const LEGEND = "The stronger the colour, the more the frame looks like the word; framed: the word’s best frame; the line under a word: how much it counts. A cell plays from there.";

/**
 * @param {object} explained of /api/videos/…/explain: words (W), weights (W), pts_seconds (F), similarity (W, F)
 * @param {(seconds: number) => void} jump
 */
export function heatMap(explained, video, duration, jump) {
  const table = element("table", "heat");
  table.setAttribute("role", "grid");
  table.style.setProperty("--frames", explained.pts_seconds.length);
  table.append(head(explained.pts_seconds, video, duration));
  const body = element("tbody");
  const [least, most] = range(explained.similarity);
  const heaviest = Math.max(...explained.weights, 1e-9);
  explained.words.forEach((word, row) => {
    const line = element("tr");
    line.append(wordHead(printable(word), explained.weights[row], heaviest));
    explained.similarity[row].forEach((value, column) => {
      const seconds = explained.pts_seconds[column];
      const warmth = most > least ? (value - least) / (most - least) : 0;
      const best = column === explained.best_frame[row];
      const words = `${word} at ${time(seconds, duration)}: ${value.toFixed(3)}${best ? ", its best frame" : ""}`;
      line.append(cell(warmth, best, printable(words), () => jump(seconds)));
    });
    body.append(line);
  });
  table.append(body);
  makeOneTabStop(table);
  const scroller = element("div", "scroller");
  scroller.append(table);
  return [scroller, element("p", "legend", LEGEND)];
}

function range(rows) {
  const values = rows.flat();
  return [Math.min(...values), Math.max(...values)];
}

function head(times, video, duration) {
  const line = element("tr");
  line.append(element("td"));
  for (const seconds of times) {
    const place = element("th");
    place.scope = "col";
    place.dataset.seconds = seconds;
    const image = element("img");
    image.alt = "";
    place.append(image, element("span", "", time(seconds, duration)));
    line.append(place);
  }
  const top = element("thead");
  top.append(line);
  loadPictures([...line.querySelectorAll("img")], times.map((seconds) => api.thumbnail(video, seconds, WIDTH)));
  return top;
}

/** One after the other: a browser has few connections to a server, and the video wants one of them. */
async function loadPictures(images, addresses) {
  for (const [column, image] of images.entries()) {
    image.src = addresses[column];
    await image.decode().catch(() => (image.hidden = true));
    if (!image.isConnected) return; // closed meanwhile
  }
}

function wordHead(word, weight, heaviest) {
  const place = element("th");
  place.scope = "row";
  place.title = `${word}: ${share(weight)} of the weight`;
  const bar = element("span", "weight");
  bar.style.width = `${(100 * weight) / heaviest}%`;
  place.append(element("bdi", "", word), bar);
  return place;
}

function cell(warmth, best, words, jump) {
  const place = element("td");
  const button = element("button", best ? "best" : "");
  button.type = "button";
  button.tabIndex = -1;
  button.title = words;
  button.setAttribute("aria-label", words);
  button.style.setProperty("--warmth", `${Math.round(100 * warmth)}%`);
  button.addEventListener("click", jump);
  place.append(button);
  return place;
}

/** Tab goes to the table once; arrows move in it. */
function makeOneTabStop(table) {
  const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("button")]);
  if (!rows.length || !rows[0].length) return;
  rows[0][0].tabIndex = 0;
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  table.addEventListener("keydown", (event) => {
    const row = rows.findIndex((buttons) => buttons.includes(event.target));
    if (row < 0 || !(event.key in moves)) return;
    const [down, right] = moves[event.key];
    const next = rows[row + down]?.[rows[row].indexOf(event.target) + right];
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

/** Mark the frame that is closest to where the video plays. */
export function markNow(table, seconds) {
  const heads = [...table.querySelectorAll("thead th")];
  const away = heads.map((place) => Math.abs(place.dataset.seconds - seconds));
  const now = away.indexOf(Math.min(...away));
  heads.forEach((place, column) => place.classList.toggle("now", column === now));
}
