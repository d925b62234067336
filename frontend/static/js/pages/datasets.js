// All data sets with their splits, and uploading one.
import "../start.js";
import { all } from "../api.js";
import { byId, h, stateChip } from "../dom.js";
import { moment, shape } from "../format.js";
import { emptyState, liveList } from "../lists.js";
import { Table } from "../table.js";
import { DATASET, Uploader } from "../uploads.js";

const SPLITS = ["train", "select", "report"];

const COLUMNS = [
  { title: "Data set", heading: true, class: "name", cell: (dataset) => dataset.name, key: (dataset) => dataset.name },
  { title: "State", cell: (dataset) => [stateChip(dataset.state), dataset.problem ? h("p", { class: "small bad" }, dataset.problem.detail) : null], key: (dataset) => dataset.state },
  { title: "Image", class: "nowrap", cell: (dataset) => shape(dataset.summary?.input_shape) || "–" },
  { title: "Classes", number: true, cell: (dataset) => (dataset.summary?.labelled === false ? "no labels" : String(dataset.summary?.classes ?? "–")), key: (dataset) => dataset.summary?.classes },
  ...SPLITS.map((split) => ({ title: split, number: true, cell: (dataset) => countOf(dataset.summary?.splits?.[split]), key: (dataset) => dataset.summary?.splits?.[split]?.images })),
  { title: "Splits", cell: (dataset) => origins(dataset.summary) },
  { title: "Added", cell: (dataset) => moment(dataset.created_at), key: (dataset) => dataset.created_at },
];

function countOf(split) {
  return split ? split.images.toLocaleString("en") : "–";
}

function origins(summary) {
  if (!summary?.splits) return "–";
  const words = SPLITS.map((split) => (summary.splits[split]?.origin ? `${split}: ${summary.splits[split].origin}` : null)).filter(Boolean).join(", ");
  return [words || "–", (summary.notes ?? []).map((note) => h("p", { class: "small muted" }, note))];
}

const table = new Table(byId("list"), COLUMNS, { caption: "Data sets" });

function show(datasets) {
  byId("list").className = datasets.length ? "panel scroll" : "";
  if (datasets.length) table.show(datasets);
  else emptyState(byId("list"), null, ["No data set yet. Calibration and training read its train split; choices are made on select; every figure you read comes from report."]);
}

const refresh = await liveList(byId("list"), () => all("/datasets"), show, (datasets) => datasets.some((dataset) => dataset.state === "inspecting"));
new Uploader(byId("upload"), DATASET, { onAdded: refresh, onReady: refresh });
