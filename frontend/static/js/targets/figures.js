// What a network costs on a target, drawn: roofline, latency by layer, and the cost at every pair of widths.
import { byId, facts, fill, freshId, h } from "../dom.js";
import { digits, percent, quantity } from "../format.js";
import { Figure } from "../plots.js";
import { Table } from "../table.js";
import { provenanceWords } from "./words.js";

const WIDTHS = [1, 2, 3, 4, 5, 6, 7, 8, 16, 32];

// Parts of the page in the order in which they stand: name of the figure, its heading.
const PARTS = [["roofline", "Roofline"], ["latency", "Latency by layer"], ["latency_by_widths", "Latency by widths"], ["energy_by_widths", "Energy by widths"]];
const OVER_WIDTHS = new Set(["latency_by_widths", "energy_by_widths"]);

export const SIMULATING = "Simulating; a kind that searches for tilings takes some seconds.";

export class CostFigures {
  // `onLayer(name or null)`: the heat maps shall show one layer, or all together.
  constructor(root, { onLayer }) {
    this.root = root;
    this.stem = freshId("cost");
    this.totals = h("div", { class: "totals" });
    this.layer = h("select", { "aria-label": "Heat maps show", onchange: () => onLayer(this.layer.value || null) });
    this.notes = {};
    this.rows = h("div", { class: "scroll" });
    this.table = h("details", {}, h("summary", {}, "Layers as a table"), this.rows);
    // A click on a layer shows it in the heat maps.
    const pick = (event) => { this.layer.value = this.report.layers[event.points[0].customdata] ?? ""; onLayer(this.layer.value || null); };
    const panel = ([name, title]) => this.panel(name, title);
    fill(root, this.totals, PARTS.filter(([name]) => !OVER_WIDTHS.has(name)).map(panel),
      this.table,
      h("div", { class: "controls" }, h("label", {}, "Heat maps show", this.layer)),
      h("div", { class: "two-plots" }, PARTS.filter(([name]) => OVER_WIDTHS.has(name)).map(panel)));
    this.figures = Object.fromEntries(PARTS.map(([name, title]) => [name, new Figure(`${this.stem}-${name}`, title, { adapt: widened(() => byId(`${this.stem}-${name}`)), on: OVER_WIDTHS.has(name) ? {} : { click: pick } })]));
    for (const [name] of PARTS) byId(`${this.stem}-${name}-downloads`).append(this.figures[name].downloads());
  }

  panel(name, title) {
    const id = `${this.stem}-${name}`;
    this.notes[name] = h("p", { class: "small muted" });
    return h("section", { class: "plot-part", "aria-label": title }, h("header", { class: "panel-head" }, h("h3", {}, title), h("span", { id: `${id}-downloads` })), this.notes[name], h("div", { class: "plot-scroll" }, h("div", { id, class: "plot" })));
  }

  async show(report) {
    this.root.hidden = false;
    this.report = report;
    fill(this.totals, totals(report));
    new Table(this.rows, LAYER_COLUMNS, { caption: "What each layer costs" }).show(records(report.figures.latency.table));
    if (this.layers !== report.layers.join("\n")) {
      this.layers = report.layers.join("\n");
      const chosen = this.layer.value;
      fill(this.layer, h("option", { value: "" }, `all ${report.layers.length} layers together`), report.layers.map((name) => h("option", { value: name, selected: name === chosen }, name)));
    }
    for (const [name] of PARTS) this.notes[name].textContent = report.figures[name].layout.meta?.note ?? "";
    await Promise.all(PARTS.map(([name]) => this.figures[name].show(report.figures[name])));
  }

  dim(stale) {
    this.root.classList.toggle("stale", stale);
  }
}

// Rows of a figure's table by the names of its columns.
function records({ columns, rows }) {
  return rows.map((row) => Object.fromEntries(row.map((value, index) => [columns[index], value])));
}

const LAYER_COLUMNS = [
  { title: "Layer", heading: true, class: "name", cell: (row) => row.layer, key: (row) => row.layer },
  { title: "Kind", cell: (row) => row.kind, key: (row) => row.kind },
  { title: "Runs as", number: true, cell: (row) => row.run_as, key: (row) => row.run_as },
  { title: "Latency", number: true, cell: (row) => quantity("latency", row.latency_s), key: (row) => row.latency_s },
  { title: "Share", number: true, cell: (row) => percent(row.share, 1), key: (row) => row.share },
  { title: "Bound by", cell: (row) => row.bound_by, key: (row) => row.bound_by },
  { title: "Energy", number: true, cell: (row) => quantity("energy", row.energy_j), key: (row) => row.energy_j },
  { title: "MACs", number: true, cell: (row) => quantity("count", row.macs), key: (row) => row.macs },
  { title: "MACs per byte", number: true, cell: (row) => digits(row.macs_per_byte), key: (row) => row.macs_per_byte },
  { title: "MAC/s", number: true, cell: (row) => quantity("count", row.macs_per_s), key: (row) => row.macs_per_s },
];

// Figures over layers keep a width at which digits can be read, and are scrolled sideways.
export function widened(element) {
  return (figure) => {
    const least = figure.layout.meta?.min_width;
    if (least) element().style.minWidth = `${least}px`;
    return figure;
  };
}

export function totals(report) {
  const each = report.images_per_pass === 1 ? "one image" : `a pass of ${report.images_per_pass} images`;
  return [
    facts([
      [`Latency of ${each}, sum of its layers`, `${quantity("latency", report.latency_s)} ${provenanceWords(report.provenance)}`],
      [`Energy of ${each}`, report.energy_j === null ? "not known for this target" : `${quantity("energy", report.energy_j)} ${provenanceWords(report.provenance)}`],
      ["Weights", quantity("size", report.size_bytes)],
      ["Runs as", report.substituted],
    ]),
    report.misfits.length ? h("div", { class: "notice warn" }, h("strong", {}, "It does not fit this target's memories at these widths"), h("ul", { class: "plain" }, report.misfits.map((words) => h("li", {}, words))), h("p", { class: "small" }, "Choose fewer bits; a search keeps to what fits.")) : null,
  ];
}

// Choices of a pair of widths.
export function widthChoices(values, changed) {
  const one = (side, words) => h("label", {}, words, h("select", { "aria-label": words, data: { key: side }, onchange: (event) => { values[side] = Number(event.target.value); changed(); } }, WIDTHS.map((bits) => h("option", { value: String(bits), selected: values[side] === bits }, String(bits)))));
  return [one("weight_bits", "Weight bits"), one("activation_bits", "Activation bits")];
}
