// Which sensitivity metric ranks this network's layers as the measured loss does: bars, and the same as a table.
import { byId, fill } from "../dom.js";
import { digits, duration, isNumber, percent } from "../format.js";
import { Figure } from "../plots.js";
import { Table } from "../table.js";

const COLUMNS = [
  { title: "Metric", heading: true, cell: (row) => row.metric, key: (row) => row.metric },
  ...["weights", "activations"].map((side) => ({ title: `Rank correlation, ${side}`, number: true, cell: (row) => correlation(row[side]), key: (row) => row[side]?.value })),
  { title: "Error reached", number: true, cell: (row) => (isNumber(row.reached_error) ? percent(row.reached_error) : "–"), key: (row) => row.reached_error },
  { title: "Took", number: true, cell: (row) => duration(row.seconds), key: (row) => row.seconds },
  { title: "Budget", number: true, cell: (row) => (isNumber(row.budget_s) ? duration(row.budget_s) : "–"), key: (row) => row.budget_s },
];

export class Metrics {
  constructor(address) {
    this.address = address;
    this.panel = byId("metrics-panel");
    this.figure = new Figure("metrics", "metrics");
    this.table = new Table(byId("metrics-table"), COLUMNS, { caption: "Sensitivity metrics beside the measured loss", sort: { index: 1, down: true } });
    fill(byId("metrics-controls"), this.figure.downloads());
  }

  // Hidden where the job compares none.
  show(data) {
    const found = data.report?.sensitivity?.comparison;
    this.panel.hidden = !found;
    if (!found || this.shown === data.version) return;
    this.shown = data.version;
    fill(byId("metrics-words"), words(found));
    const itself = { metric: "measured, with itself", weights: found.weights_reliability, activations: found.activations_reliability, seconds: found.seconds };
    this.table.show([itself, ...found.metrics]);
    this.figure.load(`${this.address}/figures/metrics.json`).catch(() => { this.shown = null; });
  }
}

function words(found) {
  return `Spearman's rank correlation of what each metric says of the layers with what was measured: the loss with one layer's weights at ${found.weight_bits} bits, or one tensor at ${found.activation_bits}, on ${found.images} images with their labels. The measurement agrees with itself only so far: no metric can be seen to do better than that.`;
}

const correlation = (found) => (found ? `${digits(found.value, 2)} ± ${digits(found.standard_error, 2)}` : "–");
