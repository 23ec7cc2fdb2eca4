"use strict";
const FEW = 12; // rows that stay without being asked for, as page.css has it
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const headers = [...table.tHead.rows[0].cells];
  const key = (row, index) => row.cells[index].dataset.value ?? row.cells[index].textContent.trim();
  headers.forEach((header, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const numeric = header.classList.contains("number");
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const [a, b] = [key(one, index), key(other, index)];
        return numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
      });
      table.tBodies[0].append(...(descending ? rows.reverse() : rows));
    });
  });
  const total = table.tBodies[0].rows.length;
  if (total > FEW) {
    const all = document.createElement("button");
    all.type = "button";
    all.className = "all";
    all.textContent = `Show all ${total}`;
    all.addEventListener("click", () => {
      table.classList.remove("few");
      all.remove();
    });
    table.classList.add("few");
    table.parentElement.after(all);
  }
}
