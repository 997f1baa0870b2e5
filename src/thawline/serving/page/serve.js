"use strict";
const LIMIT = 32 * 2 ** 20;
const drop = document.getElementById("drop");
const input = document.getElementById("files");
const list = document.getElementById("photos");
const status = document.getElementById("status");
let queue = Promise.resolve();
let waiting = 0;

const post = async (what, file) => {
  const answer = await fetch(what, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
  if (answer.ok) return answer;
  throw new Error((await answer.json()).error);
};
const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);
const row = (name, first) => {
  const made = document.createElement(name);
  if (first) made.className = "first";
  return made;
};
const show = (place, classes) => {
  classes.forEach((guess, at) => {
    const name = row("dt", at === 0);
    const label = document.createElement("bdi");
    label.textContent = guess.class;
    name.append(label);
    const share = row("dd", at === 0);
    share.textContent = percent(guess.probability);
    const bar = document.createElement("dd");
    bar.className = "share";
    bar.style.setProperty("--share", guess.probability);
    place.append(name, share, bar);
  });
};
const fail = (place, error) => {
  place.hidden = false;
  place.className = "wait wrong";
  place.textContent = error instanceof TypeError ? "thawline no longer answers. Start `thawline serve` again." : error.message;
};
const explain = async (button, map, wait, file) => {
  if (map.src) {
    map.hidden = !map.hidden;
  } else {
    button.disabled = true;
    button.textContent = "Computing Grad-CAM …";
    try {
      map.src = URL.createObjectURL(await (await post("explanation", file)).blob());
      map.hidden = false;
    } catch (error) {
      fail(wait, error);
    }
    button.disabled = false;
  }
  button.setAttribute("aria-pressed", String(!map.hidden));
  button.textContent = map.hidden ? "Show where it looks" : "Hide where it looks";
};
const classify = async (item, file) => {
  const wait = item.querySelector(".wait");
  wait.textContent = "Classifying …";
  try {
    if (file.size > LIMIT) throw new Error(`This file is larger than ${LIMIT / 2 ** 20} MiB, the limit here.`);
    const { classes } = await (await post("classes", file)).json();
    show(item.querySelector(".guesses"), classes);
    wait.hidden = true;
    const button = item.querySelector(".look");
    if (button) {
      button.hidden = false;
      button.addEventListener("click", () => explain(button, item.querySelector(".map"), wait, file));
    }
  } catch (error) {
    fail(wait, error);
  }
  waiting -= 1;
  status.textContent = waiting ? `${waiting} more …` : "";
};
const add = (files) => {
  for (const file of files) {
    const item = document.getElementById("photo").content.firstElementChild.cloneNode(true);
    const given = item.querySelector(".given");
    given.addEventListener("error", () => { given.hidden = true; });
    given.src = URL.createObjectURL(file);
    item.querySelector(".path bdi").textContent = file.name;
    list.prepend(item);
    waiting += 1;
    queue = queue.then(() => classify(item, file));
  }
};
input.addEventListener("change", () => { add(input.files); input.value = ""; });
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  add([...event.dataTransfer.files]);
});
