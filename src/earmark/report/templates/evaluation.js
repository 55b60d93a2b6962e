"use strict";
// The page of an evaluation: choose an area, sort by a figure, find a method. Without it all tables are shown.
(() => {
  const at = (id) => document.getElementById(id);
  const sections = [...document.querySelectorAll("section.masks")];

  sections.forEach((section, i) => {
    const option = document.createElement("option");
    option.value = i;
    option.textContent = section.querySelector("h2").textContent;
    at("masks").append(option);
  });

  function number(cell) { const value = Number.parseFloat(cell.textContent); return Number.isNaN(value) ? -Infinity : value; }

  function sort(head, column) {
    const table = head.closest("table"), rows = [...table.tBodies[0].rows];
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const order = column === 0
      ? (a, b) => -sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent)
      : (a, b) => sign * (number(a.cells[column]) - number(b.cells[column]));
    for (const row of rows.sort(order)) table.tBodies[0].append(row);
  }

  for (const head of document.querySelectorAll("thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => sort(head, head.cellIndex));
  }

  function filter() {
    sections.forEach((section, i) => { section.hidden = i !== Number(at("masks").value); });
    const words = at("search").value.toLowerCase();
    for (const row of document.querySelectorAll("tbody tr")) row.hidden = !row.cells[0].textContent.toLowerCase().includes(words);
    const shown = [...document.querySelectorAll("section.masks:not([hidden]) tbody tr")].filter((row) => !row.hidden);
    at("count").textContent = `${shown.length} rows`;
  }
  at("masks").addEventListener("change", filter);
  at("search").addEventListener("input", filter);
  at("tools").addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
