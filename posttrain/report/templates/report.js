const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
for (const choice of document.querySelectorAll("input[name=against]")) {
  choice.addEventListener("change", () => {
    document.getElementById("metrics").classList.remove("against-base", "against-parent");
    document.getElementById("metrics").classList.add("against-" + choice.value);
  });
}

// A header sorts its table by that column, numbers as numbers, what has none last; again, the other way round.
const number = (cell) => {
  const found = cell && cell.textContent.replaceAll(",", "").replaceAll("−", "-").match(/^\s*[<>+]*(-?[\d.]+)/);
  return found ? Number(found[1]) : null;
};
const compare = (a, b, way) => {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return way * (x - y);
  if (x !== null || y !== null) return x !== null ? -1 : 1;
  const [s, t] = [a, b].map((cell) => (cell ? cell.textContent.trim() : ""));
  if (!s || !t || s === "–" || t === "–") return (!s || s === "–") - (!t || t === "–");
  return way * s.localeCompare(t);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const way = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        rows.sort((a, b) => compare(a.cells[column], b.cells[column], way));
        body.append(...rows);
      }
    });
  });
}

// What is folded is printed too.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => (details.open = true));
});
addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));
