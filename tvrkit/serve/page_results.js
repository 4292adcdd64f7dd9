// The answer: a card a video, best first.

import * as api from "./page_api.js";
import { Frames, Track } from "./page_track.js";
import { element, share, shortFolder, span, split, time } from "./page_words.js";

const WIDTH = 480; // of a thumbnail, in pixels of the file: sharp on a dense screen, and one address for every use

/**
 * @param {object} answer of /api/search
 * @param {{open: Function, like: Function}} act what the cards' buttons do
 */
export function showHits(list, answer, act, explainable) {
  const template = document.getElementById("card");
  const cards = answer.hits.map((hit) => card(template.content.cloneNode(true), hit, act, explainable));
  const firstUnsure = answer.hits.findIndex((hit) => hit.confident === false);
  if (firstUnsure > 0) cards.splice(firstUnsure, 0, element("li", "rest", "Less certain from here on"));
  list.replaceChildren(...cards);
}

function card(fragment, hit, act, explainable) {
  const find = (selector) => fragment.querySelector(selector);
  const { name, folder } = split(hit.path);
  const open = (moment, more) => act.open(hit.video, { m: moment.number, ...more });
  find(".card").dataset.video = hit.video;
  find(".name").textContent = name;
  find("h2").title = name;
  find(".place bdi").textContent = shortFolder(folder) + copies(hit.other_paths.length);
  find(".place").title = folder;
  find(".length").textContent = time(hit.duration_seconds, hit.duration_seconds);
  find(".length").title = "Length";
  showScore(find(".meter"), find(".score"), hit);
  const best = hit.moments[0];
  find(".play").setAttribute("aria-label", `Play ${name} from ${time(best.start_seconds, hit.duration_seconds)}`);
  find(".play").addEventListener("click", () => open(best));
  // The picture itself plays the best one.
  if (hit.moments.length > 1) find(".moments").append(...hit.moments.map((moment) => chip(moment, hit, () => open(moment))));
  else find(".moments").remove();
  find(".like").addEventListener("click", () => act.like(hit.video));
  find(".why").hidden = !explainable;
  find(".why").addEventListener("click", () => open(best, { why: 1 }));
  picture(find(".picture"), hit, open);
  return fragment;
}

function copies(number) {
  return number ? ` · and ${number === 1 ? "a copy" : `${number} copies`} elsewhere` : "";
}

function showScore(meter, words, hit) {
  const sure = hit.confidence !== null;
  meter.hidden = !sure;
  if (sure) meter.firstElementChild.style.width = `${100 * hit.confidence}%`;
  meter.classList.toggle("unsure", hit.confident === false);
  words.textContent = sure ? share(hit.confidence) : `score ${hit.score.toFixed(3)}`;
  words.title = sure ? `Confidence that it fits; score ${hit.score.toFixed(4)}` : "The model's score";
}

function chip(moment, hit, play) {
  const item = element("li");
  const button = element("button", "button chip", time(moment.start_seconds, hit.duration_seconds));
  button.type = "button";
  button.title = span(moment.start_seconds, moment.end_seconds, hit.duration_seconds);
  if (moment.confidence !== null) button.title += `, ${share(moment.confidence)}`;
  button.setAttribute("aria-label", `Play the moment ${button.title}`);
  button.addEventListener("click", play);
  item.append(button);
  return item;
}

function picture(root, hit, open) {
  const [image, none, words] = ["img", ".none", ".time"].map((selector) => root.querySelector(selector));
  const best = hit.moments[0];
  const rest = () => (words.textContent = time(best.best_seconds, hit.duration_seconds));
  image.src = api.thumbnail(hit.video, best.best_seconds, WIDTH);
  image.addEventListener("load", () => (none.hidden = true));
  image.addEventListener("error", () => (none.hidden = false));
  rest();
  const frames = new Frames(image, hit.video, WIDTH);
  const track = new Track(root.querySelector(".track"), {
    look: (seconds) => {
      words.textContent = time(seconds, hit.duration_seconds);
      frames.show(seconds);
    },
    leave: () => {
      rest();
      frames.show(best.best_seconds);
    },
    play: (seconds) => open(nearest(hit.moments, seconds), { t: seconds.toFixed(1) }),
  });
  track.mark(hit.moments, hit.duration_seconds, best.number);
}

/** The moment that holds a time, or is closest to it. */
export function nearest(moments, seconds) {
  const away = (moment) => Math.max(moment.start_seconds - seconds, seconds - moment.end_seconds, 0);
  return moments.reduce((best, moment) => (away(moment) < away(best) ? moment : best));
}

/** Move the focus from card to card: by `step` in reading order, or to the row below or above. */
export function moveFocus(list, step, rows) {
  const buttons = [...list.querySelectorAll(".play")];
  const now = buttons.findIndex((button) => button.closest(".card").contains(document.activeElement));
  const next = now < 0 ? buttons[0] : rows ? inNextRow(buttons, now, step) : buttons[now + step];
  next?.focus();
  next?.closest(".card").scrollIntoView({ block: "nearest" });
}

/** The closest one of the row below (step 1) or above (-1). */
function inNextRow(buttons, now, step) {
  const boxes = buttons.map((button) => button.getBoundingClientRect());
  const away = (box) => step * (box.top - boxes[now].top);
  const beyond = boxes.filter((box) => away(box) > 1);
  const row = Math.min(...beyond.map(away));
  const sideways = (box) => Math.abs(box.left - boxes[now].left);
  const [best] = beyond.filter((box) => away(box) < row + 1).sort((one, other) => sideways(one) - sideways(other));
  return buttons[boxes.indexOf(best)];
}
