"use strict";
// Sorting, filtering, and opening a cell that a link leads to. Without it, the page has all the same facts.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const table = document.getElementById("table");
  const body = table.tBodies[0];

  // ---- sorting: a button in each heading; a second press turns the order round; what has no number stays last
  const compare = (kind, sign) => (a, b) => {
    if (kind === "text") return sign * a.value.localeCompare(b.value, "en", { numeric: true });
    if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "");
    return sign * (Number(a.value) - Number(b.value));
  };
  all("th[data-sort]", table).forEach((heading) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => ({ row, value: row.cells[heading.cellIndex].dataset.v ?? "" }));
      rows.sort(compare(heading.dataset.sort, down ? -1 : 1));
      body.append(...rows.map((item) => item.row));
    });
  });

  // ---- filtering: an element is hidden when one of its attributes is not what was chosen; squares only fade by verdict
  const form = document.getElementById("filters");
  const filter = () => {
    const chosen = all("select", form).map((select) => [select.dataset.key, select.value]).filter(([, value]) => value);
    const misses = (element) => chosen.some(([key, value]) => (element.dataset[key] ?? value) !== value);
    all(".f").forEach((element) => { element.hidden = misses(element); });
    const verdict = Object.fromEntries(chosen).verdict;
    all("[data-dim]").forEach((square) => square.classList.toggle("dim", !!verdict && square.dataset.dim !== verdict));
    const rows = all("tr.cell");
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").textContent = `${shown} of ${rows.length} cells`;
    document.getElementById("none").hidden = shown > 0;
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();

  // ---- a link to a cell opens its details, and shows its row even when it was filtered away
  const open = () => {
    const row = location.hash.startsWith("#cell-") && document.getElementById(location.hash.slice(1));
    if (!row) return;
    if (row.hidden) form.reset();
    row.hidden = false;
    row.querySelector("details").open = true;
    row.scrollIntoView();
    row.focus({ preventScroll: true });
  };
  addEventListener("hashchange", open);
  open();
})();
