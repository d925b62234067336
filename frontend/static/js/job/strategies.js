// Strategies beside each other, and the course of the chosen one: figures, and what each took.
import { byId, fill, h } from "../dom.js";
import { digits, duration, isNumber } from "../format.js";
import { Figure } from "../plots.js";
import { Table } from "../table.js";

const COLUMNS = [
  { title: "Strategy", heading: true, cell: (row) => row.title, key: (row) => row.title, raw: (row) => row.title, csv: "strategy" },
  { title: "Hypervolume", number: true, cell: (row) => (isNumber(row.hypervolume) ? row.hypervolume.toFixed(4) : "–"), key: (row) => row.hypervolume, raw: (row) => row.hypervolume, csv: "hypervolume_share" },
  { title: "Points", number: true, cell: (row) => String(row.front.length), key: (row) => row.front.length, raw: (row) => row.front.length, csv: "points" },
  { title: "Least loss", number: true, cell: (row) => digits(least(row)), key: least, raw: least, csv: "least_predicted_loss" },
  { title: "Evaluations", number: true, cell: (row) => String(row.evaluations), key: (row) => row.evaluations, raw: (row) => row.evaluations, csv: "evaluations" },
  { title: "Took", number: true, cell: (row) => (row.reason ? "–" : duration(row.seconds)), key: (row) => row.seconds, raw: (row) => row.seconds, csv: "seconds" },
  { title: "Notes", class: "words", cell: (row) => (row.reason ? h("span", { class: "warn" }, `did not search: ${row.reason}`) : row.notes.join("; ") || "–"), key: (row) => row.reason, raw: (row) => row.reason || row.notes.join("; "), csv: "notes" },
];

export class Strategies {
  constructor(address) {
    this.address = address;
    this.front = new Figure("strategies", "strategies");
    this.hypervolumes = new Figure("hypervolumes", "hypervolumes");
    this.table = new Table(byId("strategies-table"), COLUMNS, { caption: "Strategies with hypervolume, evaluations and seconds", sort: { index: 1, down: true } });
    fill(byId("strategies-controls"), this.front.downloads(), this.hypervolumes.downloads(),
      h("button", { type: "button", class: "quiet small", "aria-label": "table of strategies (CSV)", onclick: () => this.table.save("bitfront-strategies.csv") }, "Table CSV"));
    this.course = new Figure("search-course", "course of the search");
    fill(byId("search-course-controls"), this.course.downloads());
  }

  // Hidden where the job compares none, and where the search asked about no policy.
  show(data) {
    const search = data.report?.search;
    byId("strategies-panel").hidden = !search?.comparison;
    byId("search-course-panel").hidden = !search?.steps?.length;
    if (!search || this.shown === data.version) return;
    this.shown = data.version;
    if (search.steps?.length) this.showCourse(search);
    if (search.comparison) this.showComparison(search.comparison);
  }

  showCourse(search) {
    fill(byId("search-course-words"), `${search.evaluations} different policies were asked about in ${duration(search.seconds)} by ${search.strategy}. Each line is the best loss within one budget.`);
    this.load(this.course, "search-course");
  }

  showComparison(found) {
    fill(byId("strategies-words"), words(found));
    this.table.show(found.outcomes);
    this.load(this.front, "strategies");
    this.load(this.hypervolumes, "hypervolumes");
  }

  load(figure, name) {
    figure.load(`${this.address}/figures/${name}.json`).catch(() => { this.shown = null; });
  }
}

function least(row) {
  return row.front.length ? Math.min(...row.front.map((point) => point.predicted_loss)) : null;
}

function words(found) {
  const told = found.tells === "error" ? "the share of images of the select split that a calibrated candidate gets wrong" : "the predicted loss";
  return `Each was allowed ${found.evaluations} evaluations with the same seed and budgets, and judged by ${told}. Hypervolume: the best within each budget, on logarithmic scales${found.tells === "error" ? " of the cost" : ""}, as a share of the box from the ideal point (cost ${digits(found.ideal[0])}, ${digits(found.ideal[1])}) to the reference (${digits(found.reference[0])}, ${digits(found.reference[1])}). The chosen strategy's points are this job's; the others' were not evaluated.`;
}
