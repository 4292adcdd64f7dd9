// The search form: what is asked, as an address and as a request.

import * as api from "./page_api.js";
import { element, icon, printable, split } from "./page_words.js";

export const MOST_BYTES = 10e6;
const FIELDS = ["q", "in", "avoid", "min", "max", "after", "before", "top"];
const FILTERS = FIELDS.slice(1, -1);
const pictures = new Map(); // id -> data: address of pictures given in this tab

/** The parts of an address that change the answer, always in the same order: two that are equal have one answer. */
export function questionOf(address) {
  const kept = new URLSearchParams();
  for (const name of [...FIELDS, "image", "like"]) {
    for (const value of address.getAll(name)) if (value.trim()) kept.append(name, value.trim());
  }
  return kept;
}

export const isEmpty = (question) => !["q", "image", "like"].some((name) => question.has(name));
export const countFilters = (question) => FILTERS.filter((name) => question.has(name)).length;
/** Words can be explained where they are all that is asked. */
export const explainable = (question) => question.has("q") && !question.has("image") && !question.has("like");

/** The body of POST /api/search. */
export function requestOf(question) {
  const number = (name) => (question.has(name) ? { [`${name}_seconds`]: Number(question.get(name)) } : {});
  const text = (name) => (question.has(name) ? { [name]: question.get(name) } : {});
  const words = question.has("q") ? [{ kind: "text", value: question.get("q"), weight: 1 }] : [];
  const others = [["image", "image"], ["like", "video"]].flatMap(([name, kind]) =>
    question.getAll(name).map((value) => ({ kind, value, weight: 1 })),
  );
  const avoid = (question.get("avoid") || "").split(",").map((part) => part.trim()).filter(Boolean);
  return {
    ...(others.length ? { parts: [...words, ...others] } : { query: question.get("q") }),
    ...(avoid.length ? { avoid } : {}),
    ...(question.has("in") ? { in: [question.get("in")] } : {}),
    ...number("min"), ...number("max"), ...text("after"), ...text("before"),
    top: Number(question.get("top") || 20),
  };
}

/** Make the form say what the address says. */
export function fill(form, question) {
  for (const name of FIELDS) {
    const field = form.elements[name];
    const value = question.get(name) || "";
    if (name === "in" && value && ![...field.options].some((option) => option.value === value)) addFolder(field, value);
    field.value = value;
  }
  const chips = ["image", "like"].flatMap((name) => question.getAll(name).map((value) => chip(name, value)));
  form.querySelector("#chips").replaceChildren(...chips);
  const number = countFilters(question);
  const badge = form.querySelector("#filtered");
  badge.hidden = !number;
  badge.textContent = number || "";
  form.querySelector("#filter").setAttribute("aria-label", number ? `Filters, ${number} in use` : "Filters");
}

/** What the form says, as parts of an address. */
export function read(form) {
  const said = new URLSearchParams();
  for (const name of FIELDS) said.append(name, form.elements[name].value);
  for (const item of form.querySelectorAll("#chips li")) said.append(item.dataset.name, item.dataset.value);
  return questionOf(said);
}

function chip(name, value) {
  const item = element("li");
  [item.dataset.name, item.dataset.value] = [name, value];
  const words = element("bdi", "", name === "like" ? "this video" : "picture");
  const image = element("img");
  image.alt = "";
  image.addEventListener("error", () => image.remove());
  if (name === "like") {
    image.src = api.thumbnail(value, 0, 160);
    api.facts(value).then((facts) => (words.textContent = split(facts.paths[0]).name), () => {});
  } else if (pictures.has(value)) {
    image.src = pictures.get(value);
  }
  const button = element("button", "button quiet");
  button.type = "button";
  button.setAttribute("aria-label", name === "like" ? "Without this video" : "Without this picture");
  button.append(icon("close"));
  item.append(...(image.src ? [image] : []), words, button);
  return item;
}

/** Hand a picture to the server; gives its id. */
export async function givePicture(file) {
  if (!file.type.startsWith("image/")) throw new api.Problem(`“${printable(file.name)}” is not a picture.`, 415);
  if (file.size > MOST_BYTES) throw new api.Problem(`“${printable(file.name)}” is larger than 10 MB.`, 413);
  const id = await api.keepPicture(file);
  pictures.set(id, await new Promise((resolve) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.readAsDataURL(file);
  }));
  return id;
}

/** The picture among what was dropped or pasted, if there is one. */
export const pictureIn = (transfer) => [...(transfer?.files || [])].find((file) => file.type.startsWith("image/"));

/** Offer the folders of the index. */
export async function loadFolders(form) {
  const field = form.elements.in;
  for (const folder of (await api.folders()).folders) {
    if (![...field.options].some((option) => option.value === folder)) addFolder(field, folder);
  }
}

function addFolder(field, folder) {
  const option = element("option", "", printable(folder));
  option.value = folder;
  field.append(option);
}
