"use strict";
// On a phone the small figures are one below the other, screen after screen: they begin folded.
if (matchMedia("screen and (max-width: 600px)").matches) {
  for (const folded of document.querySelectorAll("details.narrow")) folded.open = false;
}
const viewer = document.getElementById("viewer");
if (viewer) {
  const data = JSON.parse(document.getElementById("cells").textContent);
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const item = ([path, confidence, picture]) => {
    const made = element("li");
    if (picture) {
      const image = element("img");
      image.src = picture;
      image.alt = "";
      made.append(image);
    }
    made.append(element("b", `${(100 * confidence).toFixed(1)} %`), element("bdi", path, "path"));
    return made;
  };
  const show = (button) => {
    const key = button.dataset.cell;
    const [wanted, said] = key.split("-").map((at) => data.classes[at]);
    const images = data.cells[key];
    const all = Number(button.textContent);
    const more = all > images.length ? ` (${images.length} of ${all})` : "";
    const heading = viewer.querySelector("h3");
    heading.replaceChildren(element("bdi", wanted), key.split("-")[0] === key.split("-")[1] ? ", correct" : " predicted as ");
    if (wanted !== said) heading.append(element("bdi", said));
    heading.append(more);
    viewer.querySelector("ul").replaceChildren(...images.map(item));
    viewer.showModal();
  };
  for (const button of document.querySelectorAll("[data-cell]")) button.addEventListener("click", () => show(button));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
}
