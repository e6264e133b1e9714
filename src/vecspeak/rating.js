"use strict";
const form = JSON.parse(document.getElementById("form").textContent);
const place = `vecspeak-rating-${form.export}-${form.rater}`;
const $ = (id) => document.getElementById(id);

// answers: item number -> {statement: 1..5}
let { at = 0, answers = {} } = restored();
let active = 0;

function restored() {
  try {
    return JSON.parse(localStorage.getItem(place)) ?? {};
  } catch {
    return {};
  }
}

function keep() {
  try {
    localStorage.setItem(place, JSON.stringify({ at, answers }));
  } catch {
    $("warning").hidden = false;
  }
}

const given = (item) => answers[item.item] ?? {};
const complete = (item) => form.statements.every((name) => given(item)[name]);

function show() {
  const item = form.items[at];
  $("title").textContent = item.title ?? `Item ${at + 1}`;
  $("truth").textContent = item.ground_truth;
  $("prompt").textContent = item.prompt;
  $("judged").textContent = item.text;
  form.statements.forEach((name, number) => {
    $(`says-${number}`).textContent = item.statements[name];
    for (const input of inputs(number)) input.checked = Number(input.value) === given(item)[name];
  });
  const open = form.statements.findIndex((name) => !given(item)[name]);
  activate(Math.max(open, 0));
  tell();
}

function tell() {
  const done = form.items.filter(complete).length;
  $("count").textContent = `Item ${at + 1} of ${form.items.length}, ${done} rated`;
  $("progress").max = form.items.length;
  $("progress").value = done;
  $("back").disabled = at === 0;
  $("next").disabled = at === form.items.length - 1;
  $("open").disabled = done === form.items.length;
  document.body.classList.toggle("done", done === form.items.length);
}

const inputs = (number) => document.querySelectorAll(`input[name="statement-${number}"]`);

function activate(number) {
  active = number;
  document.querySelectorAll("fieldset").forEach((field, i) => field.classList.toggle("active", i === number));
}

function rate(number, value) {
  const item = form.items[at];
  const changed = { ...given(item) };
  if (value) changed[form.statements[number]] = value;
  else delete changed[form.statements[number]];
  answers[item.item] = changed;
  for (const input of inputs(number)) input.checked = Number(input.value) === value;
  keep();
  tell();
}

function go(to) {
  if (to < 0 || to >= form.items.length) return;
  at = to;
  keep();
  show();
  window.scrollTo(0, 0);
  $("item").focus({ preventScroll: true });
}

function nextOpen() {
  const order = form.items.map((_, i) => (at + 1 + i) % form.items.length);
  const found = order.find((i) => !complete(form.items[i]));
  if (found !== undefined) go(found);
}

function csv() {
  const rows = form.items
    .filter((item) => Object.keys(given(item)).length)
    .map((item) => [form.rater, item.item, form.export, ...form.statements.map((name) => given(item)[name] ?? "")]);
  return [["rater", "item", "export", ...form.statements], ...rows].map((row) => row.join(",") + "\n").join("");
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
  link.download = `ratings-${form.rater}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

document.querySelectorAll("fieldset").forEach((field, number) => {
  field.addEventListener("change", (event) => {
    activate(number); // not every browser focuses a radio that is clicked
    rate(number, Number(event.target.value));
  });
  field.addEventListener("focusin", () => activate(number));
});
$("back").addEventListener("click", () => go(at - 1));
$("next").addEventListener("click", () => go(at + 1));
$("open").addEventListener("click", nextOpen);
$("download").addEventListener("click", download);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onControl = event.target.closest("button, summary");
  if (/^[0-5]$/.test(event.key)) {
    rate(active, Number(event.key));
    const next = event.key === "0" ? active : Math.min(active + 1, form.statements.length - 1);
    // the field and not a radio in it: a ring around one of the numbers would suggest it
    document.querySelectorAll("fieldset")[next].focus();
  } else if (event.key === "Enter" && !onControl) go(at + 1);
  else if (event.key === "Backspace") go(at - 1);
  else return;
  event.preventDefault();
});

keep();
show();
