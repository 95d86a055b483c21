"use strict";
// Texts come from file names and labels: they are set as text, never as HTML.
const at = (id) => document.getElementById(id);
let shown = { label: "", start: 0 };

function say(text, isError = false) {
  at("state").textContent = text;
  at("state").className = isError ? "error" : "";
}

async function call(path, form) {
  const answer = await fetch(path, form ? { method: "POST", body: form } : {});
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.detail);
  return content;
}

function figure(source, text) {
  const box = document.createElement("figure"), image = document.createElement("img");
  const caption = document.createElement("figcaption");
  image.src = source;
  image.alt = text;
  caption.textContent = text;
  box.append(image, caption);
  return box;
}

async function refresh() {
  const gallery = await call("/gallery");
  const names = Object.keys(gallery.classes);
  at("title").textContent = `Gallery: ${gallery.exemplars} exemplars, ${names.length} of ${gallery.attribute}`;
  at("classes").replaceChildren(...names.map((name) => {
    const entry = document.createElement("li"), button = document.createElement("button");
    button.textContent = `${name} (${gallery.classes[name]})`;
    button.onclick = () => run(() => browse(name, 0));
    entry.append(button);
    return entry;
  }));
  at("labels").replaceChildren(...names.map((name) => new Option(name)));
  if (!at("by").length) at("by").append(...gallery.ways.map((way) => new Option(way)));
}

async function browse(label, start) {
  const exemplars = await call(`/exemplars?${new URLSearchParams({ label, start })}`);
  if (start === 0) at("exemplars").replaceChildren();
  at("chosen").textContent = label;
  at("exemplars").append(...exemplars.map((one) =>
    figure(`/image?exemplar=${one.exemplar}`, one.image.split("/").pop())));
  shown = { label, start: start + exemplars.length };
  at("more").hidden = exemplars.length < 60;
}

async function ask(files) {
  const form = new FormData();
  for (const file of files) form.append("images", file);
  form.append("by", at("by").value || "nearest");
  const answer = await call("/query", form);
  at("answers").replaceChildren(...answer.images.map((one, i) => {
    const row = document.createElement("div"), title = document.createElement("h3");
    row.className = "answer";
    title.textContent = `${one.image}: ${one.label}`;
    row.append(title, figure(URL.createObjectURL(files[i]), one.image));
    row.append(...one.nearest.map((near) => near.exemplar < 0
      ? document.createTextNode(` ${near.label} ${near.distance.toFixed(4)} `)
      : figure(`/image?exemplar=${near.exemplar}`, `${near.label} ${near.distance.toFixed(4)}`)));
    return row;
  }));
  say(answer.threshold_is_stale ? "The threshold is stale: set it anew with calibrate." : "");
}

async function add() {
  const form = new FormData();
  for (const file of at("new").files) form.append("images", file);
  form.append("label", at("label").value);
  const answer = await call("/add", form);
  say(`Added ${answer.added}; ${answer.already} were there already.`);
  await refresh();
}

async function run(action) {
  try {
    say("…");
    await action();
    if (at("state").textContent === "…") say("");
  } catch (error) {
    say(error.message, true);
  }
}

at("files").onchange = () => run(() => ask([...at("files").files]));
at("add").onclick = () => run(add);
at("more").onclick = () => run(() => browse(shown.label, shown.start));
for (const name of ["dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") run(() => ask([...event.dataTransfer.files]));
  });
}
run(refresh);
