"use strict";
// Sorting and filtering of tables. Without it the page shows all the same, in the order of the report.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const key = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.key === undefined ? null : Number(cell.dataset.key);
    };
    const compare = (one, other, column, sign) => {
      const [a, b] = [key(one, column), key(other, column)];
      if (a !== null && b !== null) return sign * (a - b);
      // What has no figure comes last, in either direction.
      if (a !== null || b !== null) return a === null ? 1 : -1;
      return sign * collator.compare(one.cells[column].textContent, other.cells[column].textContent);
    };
    const sort = (column) => {
      const rising = heads[column].ariaSort !== "ascending";
      for (const head of heads) head.ariaSort = null;
      heads[column].ariaSort = rising ? "ascending" : "descending";
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((one, other) => compare(one, other, column, rising ? 1 : -1)));
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(column));
      head.append(button);
    });
  };

  const filterable = (filter) => {
    const rows = [...document.getElementById(filter.dataset.table).tBodies[0].rows];
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const input = filter.querySelector("input");
    const status = filter.querySelector("[role=status]");
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) row.hidden = !words.every((word) => texts.get(row).includes(word));
      const shown = rows.filter((row) => !row.hidden).length;
      status.textContent = `${shown} of ${rows.length} cases shown`;
    };
    input.addEventListener("input", apply);
    filter.hidden = false;
    apply();
  };

  document.querySelectorAll("table[data-sortable]").forEach(sortable);
  document.querySelectorAll(".filter").forEach(filterable);
})();
