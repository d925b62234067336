// A table that sorts by any column and gives itself as CSV. Cells are text or nodes; `key` sorts.
import { fill, h } from "./dom.js";
import { csv, save } from "./files.js";

// columns: {title, cell(row) -> text or node, key(row) -> number or text, number: bool, raw(row) for CSV}
export class Table {
  constructor(root, columns, { caption, sort = null, rowOptions = () => ({}), empty = "Nothing here yet." }) {
    Object.assign(this, { root, columns, caption, sort, rowOptions, empty, rows: [] });
  }

  show(rows, columns = this.columns) {
    this.rows = rows;
    this.columns = columns;
    const body = this.sorted().map((row) => h("tr", this.rowOptions(row), this.columns.map((column) => this.cell(column, row))));
    const table = h("table", {}, h("caption", { class: "visually-hidden" }, this.caption), h("thead", {}, h("tr", {}, this.columns.map((column, index) => this.heading(column, index)))), h("tbody", {}, body));
    fill(this.root, rows.length ? table : h("p", { class: "muted" }, this.empty));
  }

  cell(column, row) {
    return h(column.heading ? "th" : "td", { class: column.class ?? (column.number ? "number" : ""), scope: column.heading ? "row" : null }, column.cell(row));
  }

  heading(column, index) {
    const active = this.sort?.index === index;
    const direction = active ? (this.sort.down ? "descending" : "ascending") : null;
    const name = column.key ? h("button", { type: "button", data: { key: `sort-${column.title}` }, onclick: () => this.sortBy(index) }, column.title) : column.title;
    return h("th", { scope: "col", class: column.number ? "number" : "", "aria-sort": direction }, name);
  }

  sortBy(index) {
    this.sort = { index, down: this.sort?.index === index ? !this.sort.down : false };
    this.show(this.rows);
  }

  sorted() {
    const column = this.sort && this.columns[this.sort.index];
    if (!column?.key) return this.rows;
    const sign = this.sort.down ? -1 : 1;
    return [...this.rows].sort((left, right) => compare(column.key(left), column.key(right), sign));
  }

  save(name) {
    const columns = this.columns.filter((column) => column.raw);
    save(name, "text/csv", csv(columns.map((column) => column.csv ?? column.title), this.sorted().map((row) => columns.map((column) => column.raw(row)))));
  }
}

// What is missing stands last, whichever way one sorts.
function compare(left, right, sign) {
  const [noLeft, noRight] = [left, right].map((value) => value === null || value === undefined || Number.isNaN(value));
  if (noLeft || noRight) return noLeft - noRight;
  if (typeof left === "number" && typeof right === "number") return sign * (left - right);
  return sign * String(left).localeCompare(String(right), "en", { numeric: true });
}
