// How times, names and shares are written.

/** 75 -> "1:15"; with tenths for a video so short that whole seconds say little: "4.2 s". */
export function time(seconds, duration) {
  if (duration < 20) return `${(Math.floor(Math.max(0, seconds) * 10 + 1e-6) / 10).toFixed(1)}\u00a0s`;
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** "1:15 – 1:21" */
export function span(start, end, duration) {
  const [from, to] = [time(start, duration), time(end, duration)];
  return duration < 20 ? `${from.slice(0, -2)} – ${to}` : `${from} – ${to}`;
}

/** A name as text: what could turn the direction of what follows, or cannot be seen, is written out. */
export function printable(name) {
  return name.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu, (sign) => {
    return `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** The last part of a path or address, and what stands before it. */
export function split(path) {
  const cut = path.lastIndexOf(separator(path)) + 1;
  return { name: printable(path.slice(cut)), folder: printable(path.slice(0, Math.max(1, cut - 1))) };
}

/** What stands between folders: names on a Unix machine may hold the other one. */
const separator = (path) => (/^[a-z]:\\|^\\\\/i.test(path) ? "\\" : "/");

/** The last folders of a path: enough to tell one from another. */
export function shortFolder(folder, parts = 2) {
  const names = folder.split(separator(folder)).filter(Boolean);
  return names.length > parts ? ["…", ...names.slice(-parts)].join(separator(folder)) : folder;
}

/** "1 video", "1,204 videos" */
export function count(number, thing) {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}

/** .824 -> "82 %"; never "100 %", for nothing is that sure. */
export function share(part) {
  return part < 0.005 ? "under 1\u00a0%" : `${Math.min(99, Math.max(1, Math.round(part * 100)))}\u00a0%`;
}

/** An element with a class and a text; the text is never read as markup. */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** One of the signs drawn in the page's head. */
export function icon(name) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  drawing.append(use);
  return drawing;
}
