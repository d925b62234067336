// Bit map, sensitivity and latency over the same layers: three figures on one axis, one cursor through all of them.
import { bitCell, byId, fill, h } from "../dom.js";
import { digits, isNumber, percent, quantity } from "../format.js";
import { Figure } from "../plots.js";
import { Table } from "../table.js";
import { layersOf, mean } from "./reading.js";

const LEFT = 72;
const RIGHT = 16;

export class Layers {
  constructor(choices) {
    this.choices = choices;
    const on = { hover: (event) => this.point(event.points[0].pointIndex === undefined ? null : Math.round(event.points[0].x)), unhover: () => this.point(null) };
    this.figures = {
      bits: new Figure("bits", "bits", { adapt: (figure) => upper(figure), on }),
      sensitivity: new Figure("sensitivity", "sensitivity", { adapt: (figure) => upper(figure), on }),
      latency: new Figure("latency", "latency", { on }),
    };
    this.inner = byId("layers-inner");
    this.cursor = byId("layer-cursor");
    this.words = byId("layer-words");
    this.current = null;
    byId("layers").addEventListener("keydown", (event) => this.key(event));
    byId("layers").addEventListener("blur", () => this.point(null));
    byId("layer-table").addEventListener("toggle", () => this.table());
    new ResizeObserver(() => this.size()).observe(byId("layers"));
    this.controls();
  }

  controls() {
    const at = h("select", { onchange: (event) => this.choices.set({ at: event.target.value }) },
      [["picked", "at the picked bits"], ...[8, 7, 6, 5, 4, 3, 2].map((bits) => [String(bits), `at ${bits} bits`]), ["0", "the metric's own score"]].map(([value, words]) => h("option", { value }, words)));
    at.value = this.choices.at;
    this.at = at;
    const scale = h("span", { class: "scale", "aria-label": "Scale of bits" }, [0, 2, 3, 4, 5, 6, 7, 8, 32].map(bitCell), " bits");
    const downloads = Object.entries({ bits: "Bits", sensitivity: "Sensitivity", latency: "Latency" }).map(([name, words]) => h("label", {}, words, this.figures[name].downloads()));
    fill(byId("layers-controls"), scale, h("label", {}, "Sensitivity", at), h("details", {}, h("summary", {}, "Download"), downloads));
  }

  // The figures of the shown candidate; `other` is compared with it.
  show(job, picked, other, data) {
    this.data = data;
    this.picked = picked;
    this.layers = layersOf(data.report, data.candidates);
    this.at.value = this.choices.at;
    this.size();
    if (this.current === null) this.point(null);
    if (!picked) return;
    const base = `/jobs/${job.id}/figures`;
    const candidate = `candidate=${encodeURIComponent(picked.id)}`;
    const at = this.choices.at === "picked" ? "" : `&at_bits=${encodeURIComponent(this.choices.at)}`;
    this.draw("bits", `${base}/bits.json?${candidate}${other ? `&compare=${encodeURIComponent(other.id)}` : ""}`);
    this.draw("sensitivity", `${base}/sensitivity.json?${candidate}${at}`);
    this.draw("latency", `${base}/latency.json?${candidate}&target=${encodeURIComponent(this.choices.target)}`);
    this.table();
  }

  draw(name, address) {
    const key = `${address}#${this.data.version}`;
    if (this.figures[name].shown === key) return;
    this.figures[name].shown = key;
    this.figures[name].load(address).catch((error) => { this.figures[name].shown = null; this.words.textContent = error.message; });
  }

  size() {
    const needed = LEFT + RIGHT + 19 * (this.layers?.length ?? 0);
    this.inner.style.width = `${Math.max(byId("layers").clientWidth, needed)}px`;
    this.place();
  }

  key(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !this.layers?.length) return;
    event.preventDefault();
    const next = Math.min(this.layers.length - 1, Math.max(0, (this.current ?? -1) + steps[event.key]));
    this.words.setAttribute("aria-live", "polite");
    this.point(next);
    this.cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  // Lights up one layer everywhere: cursor, words and its row.
  point(index) {
    this.current = index;
    this.place();
    this.words.replaceChildren(...(index === null ? [`${this.layers?.length ?? 0} layers. Hover one, or press the arrow keys, to read it in all three figures${this.inner.clientWidth > byId("layers").clientWidth + 4 ? "; scroll sideways for the rest" : ""}.`] : this.describe(index)));
    for (const row of byId("layer-table").querySelectorAll("tr[data-layer]")) row.classList.toggle("lit", Number(row.dataset.layer) === index);
  }

  place() {
    this.cursor.hidden = this.current === null || !this.layers?.length;
    if (this.cursor.hidden) return;
    const width = (this.inner.clientWidth - LEFT - RIGHT) / this.layers.length;
    this.cursor.style.left = `${LEFT + width * this.current}px`;
    this.cursor.style.width = `${width}px`;
  }

  row(index) {
    const layer = this.layers[index];
    const target = this.choices.target;
    const costs = this.picked?.costs?.[target]?.layers ?? [];
    const cost = costs.find((one) => one.name === layer.name) ?? {};
    const total = costs.reduce((sum, one) => sum + (one.latency_s ?? 0), 0);
    const sensitivity = this.data.report?.sensitivity?.layers?.find((one) => one.name === layer.name) ?? {};
    const bits = this.picked?.policy?.layers?.[layer.name] ?? {};
    const loss = (side) => (bits[side] === 32 ? 0 : sensitivity[side]?.[String(Math.round(mean(bits[side])))]);
    return { index, layer, bits, loss, score: sensitivity.score, error: sensitivity.standard_error, latency: cost.latency_s, share: total > 0 ? cost.latency_s / total : null, bound: cost.bound_by };
  }

  describe(index) {
    const row = this.row(index);
    const parts = [`W ${label(row.bits.weights)}, A ${label(row.bits.activations)}`];
    if (isNumber(row.latency)) parts.push(`${quantity("latency", row.latency)}${isNumber(row.share) ? ` (${percent(row.share, 1)})` : ""}${row.bound ? `, bound by ${row.bound}` : ""}`);
    if (isNumber(row.loss("weights"))) parts.push(`loss +${digits(row.loss("weights"))} weights${isNumber(row.loss("activations")) ? `, +${digits(row.loss("activations"))} activations` : ""}`);
    return [h("strong", {}, row.layer.name), ` · ${parts.join(" · ")}`];
  }

  table() {
    const place = byId("layer-table");
    if (!place.open || !this.layers || !this.picked) return;
    this.grid ??= new Table(place.querySelector(".scroll"), COLUMNS, { caption: "Layers with bits, sensitivity and latency", rowOptions: (row) => ({ data: { layer: String(row.index) } }) });
    this.grid.show(this.layers.map((_, index) => this.row(index)));
  }
}

const label = (bits) => (bits === undefined ? "–" : bits === 32 ? "float" : digits(mean(bits), 2));

const COLUMNS = [
  { title: "Layer", heading: true, cell: (row) => row.layer.name, key: (row) => row.index },
  { title: "Kind", cell: (row) => row.layer.kind ?? "–" },
  { title: "W bits", number: true, cell: (row) => bitCell(row.bits.weights), key: (row) => mean(row.bits.weights) },
  { title: "A bits", number: true, cell: (row) => bitCell(row.bits.activations), key: (row) => row.bits.activations },
  { title: "Loss, weights", number: true, cell: (row) => digits(row.loss("weights")), key: (row) => row.loss("weights") },
  { title: "Loss, activations", number: true, cell: (row) => digits(row.loss("activations")), key: (row) => row.loss("activations") },
  { title: "Score", number: true, cell: (row) => (isNumber(row.score) ? `${digits(row.score)}${isNumber(row.error) ? ` ± ${digits(row.error, 2)}` : ""}` : "–"), key: (row) => row.score },
  { title: "Latency", number: true, cell: (row) => quantity("latency", row.latency), key: (row) => row.latency },
  { title: "Share", number: true, cell: (row) => percent(row.share, 1), key: (row) => row.share },
  { title: "Bound by", cell: (row) => row.bound ?? "–", key: (row) => row.bound },
  { title: "MACs", number: true, cell: (row) => quantity("count", row.layer.macs), key: (row) => row.layer.macs },
];

// The upper figures leave the layers' names to the lowest one.
function upper(figure) {
  const { layout } = figure;
  if (!layout.xaxis?.tickvals) return figure;
  const saved = (layout.margin?.b ?? 60) - 8;
  layout.xaxis.showticklabels = false;
  layout.margin = { ...layout.margin, b: 8 };
  if (layout.height) layout.height -= saved;
  return figure;
}
