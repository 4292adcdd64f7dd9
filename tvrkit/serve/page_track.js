// The strip under a picture: the whole video from left to right, its best moments marked, any time of it to be seen.

import * as api from "./page_api.js";
import { element, time } from "./page_words.js";

const STEPS = 80; // times along a strip that are worth a picture of their own

/** Shows the frames of a video in an <img>, one request at a time: while one is under way only the last wish is kept. */
export class Frames {
  constructor(image, video, width) {
    [this.image, this.video, this.width, this.wanted, this.loading] = [image, video, width, null, false];
  }

  show(seconds) {
    this.wanted = api.thumbnail(this.video, seconds, this.width);
    if (!this.loading) this.#next();
  }

  async #next() {
    this.loading = true;
    while (this.wanted) {
      const address = this.wanted;
      this.wanted = null;
      const picture = new Image();
      picture.src = address;
      try {
        await picture.decode();
        this.image.src = address;
      } catch {
        // The picture that is there stays.
      }
    }
    this.loading = false;
  }
}

/**
 * Fill a `.track`.
 * @param {(seconds: number) => void} look where the pointer is
 * @param {() => void} leave the pointer is gone
 * @param {(seconds: number) => void} play where it was clicked
 */
export class Track {
  constructor(root, { look, leave, play }) {
    [this.root, this.duration] = [root, 1];
    this.bands = element("span", "bands");
    this.cursor = element("span", "cursor");
    this.head = element("span", "head");
    root.replaceChildren(this.bands, this.head, this.cursor);
    let start = null;
    const seconds = (event) => {
      const box = root.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * this.duration;
    };
    const move = (event) => {
      const step = Math.round((seconds(event) / this.duration) * STEPS) / STEPS;
      this.cursor.dataset.time = time(step * this.duration, this.duration);
      this.#place(this.cursor, step);
      root.classList.add("looking");
      // The very end of a file has no frame of its own.
      look(Math.min(step, 1 - 0.5 / STEPS) * this.duration);
    };
    const gone = () => {
      root.classList.remove("looking");
      start = null;
      leave();
    };
    root.addEventListener("pointerdown", (event) => {
      start = event.clientX;
      if (event.pointerType !== "mouse") root.setPointerCapture(event.pointerId);
      move(event);
    });
    root.addEventListener("pointermove", (event) => (event.pointerType === "mouse" || start !== null) && move(event));
    root.addEventListener("pointerup", (event) => {
      // A finger that moved wanted to look, not to play.
      if (start !== null && Math.abs(event.clientX - start) < 8) play(seconds(event));
      start = null;
    });
    root.addEventListener("pointerleave", gone);
    root.addEventListener("pointercancel", gone);
  }

  /** Mark the moments; the one with `number` as the current one. */
  mark(moments, duration, number = null) {
    this.duration = Math.max(duration, 0.01);
    this.bands.replaceChildren(
      ...moments.map((moment) => {
        const band = element("i", moment.number === number ? "now" : "");
        band.style.left = `${(100 * moment.start_seconds) / this.duration}%`;
        band.style.width = `${(100 * (moment.end_seconds - moment.start_seconds)) / this.duration}%`;
        // One moment that is all of the video needs no mark.
        band.classList.toggle("all", moments.length === 1 && moment.end_seconds - moment.start_seconds > 0.9 * duration);
        return band;
      }),
    );
  }

  /** Where the video plays. */
  at(seconds) {
    this.#place(this.head, seconds / this.duration);
  }

  #place(mark, part) {
    mark.style.left = `${100 * Math.min(1, Math.max(0, part))}%`;
  }
}
