"use strict";
const LISTS = 5; // that are shown at a time

for (const part of document.querySelectorAll(".lists")) {
  const [order, first] = part.querySelectorAll("select"), [previous, next] = part.querySelectorAll("button");
  const lists = [...part.querySelectorAll("article")], place = part.querySelector("output");
  let queries;
  const show = (start) => {
    const shown = queries.slice(start, start + LISTS);
    for (const list of lists) list.hidden = true;
    for (const query of shown) {
      lists[query].hidden = false;
      lists[query].parentNode.append(lists[query]);
    }
    first.selectedIndex = start;
    place.textContent = `${start + 1} to ${start + shown.length} of ${queries.length}`;
    previous.disabled = start === 0;
    next.disabled = start + LISTS >= queries.length;
  };
  const fill = () => {
    queries = JSON.parse(order.value);
    first.replaceChildren(...queries.map((query) => new Option(lists[query].querySelector("h3").textContent)));
    show(0);
  };
  order.onchange = fill;
  first.onchange = () => show(first.selectedIndex);
  previous.onclick = () => show(Math.max(0, first.selectedIndex - LISTS));
  next.onclick = () => show(first.selectedIndex + LISTS);
  fill();
}

for (const part of document.querySelectorAll(".slider")) {
  const [left, right] = part.querySelectorAll("select"), range = part.querySelector("input");
  const versions = [...part.querySelectorAll("img")];
  const show = () => versions.forEach((version, i) => {
    const over = i === left.selectedIndex;
    version.hidden = !over && i !== right.selectedIndex;
    version.style.zIndex = over ? 1 : 0;
    version.style.clipPath = over && i !== right.selectedIndex ? `inset(0 ${100 - range.value}% 0 0)` : "none";
  });
  left.onchange = right.onchange = range.oninput = show;
  show();
}

for (const part of document.querySelectorAll(".chart")) {
  const drawing = part.querySelector("svg[role]"), mark = part.querySelector(".mark"), output = part.querySelector("output");
  const points = [...part.querySelectorAll("polyline")].flatMap((line) => {
    const values = line.dataset.values.split(";");
    return [...line.points].map((at, i) => ({ x: at.x, y: at.y, text: `${line.dataset.name}, ${values[i]}` }));
  });
  drawing.onpointermove = drawing.onpointerdown = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const far = (point) => (point.x - at.x) ** 2 + (point.y - at.y) ** 2;
    const nearest = points.reduce((a, b) => (far(b) < far(a) ? b : a));
    mark.setAttribute("cx", nearest.x);
    mark.setAttribute("cy", nearest.y);
    mark.setAttribute("visibility", "visible");
    output.textContent = nearest.text;
  };
}
