// The player: a video at one of its moments, the way to the others, and why it was found.

import * as api from "./page_api.js";
import { heatMap, markNow } from "./page_heat.js";
import { Track } from "./page_track.js";
import { printable, share, span, split, time } from "./page_words.js";

const CLIP_SECONDS = 30; // of a clip that is made for a place outside all moments
const LONGEST_CLIP = 60; // that the server makes

export class Player {
  /** @param {{close, moment, why, like}} act what happens to the address */
  constructor(dialog, act) {
    [this.dialog, this.act, this.hit] = [dialog, act, null];
    this.find = (selector) => dialog.querySelector(selector);
    this.video = this.find("video");
    this.track = new Track(this.find(".track"), { look: () => {}, leave: () => {}, play: (seconds) => this.seek(seconds) });
    this.video.addEventListener("timeupdate", () => this.#moved());
    this.video.addEventListener("error", () => this.#failed());
    this.video.addEventListener("loadedmetadata", () => this.#start());
    this.find(".close").addEventListener("click", () => act.close());
    this.find(".like").addEventListener("click", () => act.like(this.hit.video));
    this.find(".why").addEventListener("click", () => act.why());
    for (const button of dialog.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.step(Number(button.dataset.step)));
    }
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      act.close();
    });
    dialog.addEventListener("click", (event) => event.target === dialog && act.close());
  }

  get isOpen() {
    return this.dialog.open;
  }

  /** The moments in the order in which the video shows them. */
  get #inOrder() {
    return [...this.hit.moments].sort((one, other) => one.start_seconds - other.start_seconds);
  }

  /**
   * Show a video at a moment.
   * @param {object} hit as in an answer
   * @param {number|null} number of the moment; null is the best one
   * @param {number|null} seconds where to start instead of the moment's start
   * @param {string} query the words to explain; "" when there is nothing to explain
   */
  async open(hit, number, seconds, { query, why }) {
    const moment = hit.moments.find((one) => one.number === number) || hit.moments[0];
    const same = this.isOpen && this.hit?.video === hit.video && this.moment === moment && this.seconds === seconds;
    [this.hit, this.moment, this.query, this.seconds] = [hit, moment, query, seconds];
    if (!this.isOpen) this.dialog.showModal();
    this.#label();
    this.#explain(why);
    if (same) return;
    this.video.focus({ preventScroll: true });
    await this.#load(seconds ?? moment.start_seconds);
  }

  close() {
    if (!this.isOpen) return;
    this.dialog.close();
    this.hit = null;
    this.#unload();
  }

  /** To the next moment or the one before it. */
  step(by) {
    const moments = this.#inOrder;
    const next = moments[moments.indexOf(this.moment) + by];
    if (next) this.act.moment(next.number);
  }

  /** Play from a time of the file. */
  seek(seconds) {
    const local = seconds - this.offset;
    if (this.whole || (local >= 0 && local < this.video.duration)) {
      this.video.currentTime = local;
      this.#play();
    } else {
      this.#load(seconds);
    }
  }

  toggle() {
    this.video.paused ? this.#play() : this.video.pause();
  }

  async #load(seconds) {
    const { hit } = this;
    this.from = seconds;
    this.#say("");
    this.video.poster = api.thumbnail(hit.video, seconds, 960);
    if (hit.playable === undefined) {
      try {
        hit.playable = (await api.facts(hit.video)).playable;
      } catch (problem) {
        return this.#say(problem.message);
      }
    }
    if (this.hit !== hit || this.from !== seconds) return; // meanwhile something else was opened
    this.whole = hit.playable;
    const address = this.whole ? api.file(hit.video) : this.#clip(seconds);
    if (this.video.getAttribute("src") === address && this.video.readyState > 0) return this.#start();
    this.offset = this.whole ? 0 : this.clipStart;
    this.video.src = address;
  }

  #clip(seconds) {
    const inside = seconds >= this.moment.start_seconds && seconds < this.moment.end_seconds;
    this.clipStart = inside ? this.moment.start_seconds : seconds;
    const end = inside ? this.moment.end_seconds : Math.min(seconds + CLIP_SECONDS, this.hit.duration_seconds);
    return api.clip(this.hit.video, this.clipStart, Math.min(end, this.clipStart + LONGEST_CLIP));
  }

  #start() {
    this.video.currentTime = Math.max(0, this.from - this.offset);
    this.#play();
  }

  #play() {
    // Browsers refuse to play before the first click or key; the controls are there.
    this.video.play().catch(() => {});
  }

  #unload() {
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.removeAttribute("poster");
    this.video.load();
  }

  async #failed() {
    const { hit, from } = this;
    const address = this.video.getAttribute("src");
    if (!hit || !address) return;
    if (this.whole) {
      // Some browsers lack a codec: the server makes a clip that all can play.
      hit.playable = false;
      return this.#load(from);
    }
    const reason = await api.reason(address);
    if (this.hit === hit && this.from === from) this.#say(reason || "This browser cannot play the video.");
  }

  #say(words) {
    const place = this.find(".stage .words");
    place.hidden = !words;
    place.textContent = words;
  }

  #moved() {
    if (!this.hit) return;
    const seconds = this.video.currentTime + (this.offset || 0);
    this.track.at(seconds);
    const table = this.find("table.heat");
    if (table) markNow(table, seconds);
    const state = seconds < this.moment.start_seconds - 0.2 ? "before" : seconds > this.moment.end_seconds ? "after" : "in";
    if (state !== this.state) this.#where(state);
  }

  #where(state) {
    this.state = state;
    const { hit, moment } = this;
    const many = hit.moments.length > 1 ? `Moment ${this.#inOrder.indexOf(moment) + 1} of ${hit.moments.length}` : "Moment";
    const sure = moment.confidence === null || moment.confidence === undefined ? "" : ` · ${share(moment.confidence)}`;
    const ended = { in: "", before: "", after: " · ended" }[state];
    this.find(".where").textContent =
      `${many} · ${span(moment.start_seconds, moment.end_seconds, hit.duration_seconds)}${sure}${ended}`;
  }

  #label() {
    const { hit, moment } = this;
    this.find("h2 bdi").textContent = split(hit.path).name;
    this.video.setAttribute("aria-label", split(hit.path).name);
    this.find(".paths").replaceChildren(
      ...[hit.path, ...hit.other_paths].map((path) => {
        const line = document.createElement("bdi");
        line.textContent = printable(path);
        return line;
      }),
    );
    this.track.mark(hit.moments, hit.duration_seconds, moment.number);
    const place = this.#inOrder.indexOf(moment);
    this.find('[data-step="-1"]').disabled = place === 0;
    this.find('[data-step="1"]').disabled = place === hit.moments.length - 1;
    this.#where("in");
  }

  async #explain(wanted) {
    const [button, section] = [this.find(".why"), this.find("#heat")];
    button.hidden = !this.query;
    const shown = Boolean(wanted && this.query);
    button.setAttribute("aria-expanded", shown);
    section.hidden = !shown;
    const key = shown ? JSON.stringify([this.hit.video, this.moment.number, this.query]) : "";
    if (key === this.explained) return;
    this.explained = key;
    section.replaceChildren();
    if (!shown) return;
    section.setAttribute("aria-busy", "true");
    const { hit, moment } = this;
    try {
      const explained = await api.explain(hit.video, moment.number, this.query);
      if (this.explained !== key) return;
      section.replaceChildren(...heatMap(explained, hit.video, hit.duration_seconds, (seconds) => this.seek(seconds)));
    } catch (problem) {
      if (this.explained !== key) return;
      this.explained = "";
      section.textContent = problem.message;
    }
    section.removeAttribute("aria-busy");
  }
}
