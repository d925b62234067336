// Where the numbers come from, the log, and every file of the job.
import { byId, facts, fill, h } from "../dom.js";
import { duration, percent, quantity } from "../format.js";
import { save } from "../files.js";
import { Table } from "../table.js";
import { withId } from "./reading.js";

const LOG_LINES = 2000;

export function showProvenance(job, report) {
  const found = report?.provenance;
  fill(byId("provenance-controls"), report ? h("button", { type: "button", class: "quiet small", "aria-label": "report as JSON", onclick: () => save(`bitfront-report-${job.id}.json`, "application/json", JSON.stringify(report, null, 2)) }, "JSON") : null,
    h("button", { type: "button", class: "quiet small", "aria-label": "specification as JSON", onclick: () => save(`bitfront-job-${job.id}.json`, "application/json", JSON.stringify(job.specification, null, 2)) }, "Specification"));
  if (!report) return fill(byId("provenance"), h("p", { class: "muted" }, "Appears as the stages end."));
  const { specification } = job;
  return fill(byId("provenance"), facts([
    ["Splits", report.split_note],
    ["Images", report.synthesis ? `made from the network itself: ${report.synthesis.title}, seed ${report.synthesis.seed}` : null],
    ["Measured", report.metric === "agreement" ? "agreement with the float network, and divergence from it: the images have no labels" : null],
    ["Float network", report.float && report.metric !== "agreement" ? `${percent(report.float.report?.accuracy)} on report, ${percent(report.float.select?.accuracy)} on select` : null],
    ["Quantizer", quantizerWords(specification.quantizer)],
    ["Calibration", `${specification.calibration.observer}, at most ${specification.calibration.samples} images of train`],
    ["Sensitivity", sensitivityWords(report.sensitivity)],
    ...Object.entries(report.costs ?? {}).map(([target, cost]) => [`Costs on ${target}`, `${cost.provenance}; ${cost.source}`]),
    ["Without training", postTrainingWords(specification.post_training)],
    ["Recipe", specification.training ? listed(specification.training) : `no training: ${report.metric ?? "accuracy"} is after calibration`],
    ["Seed", String(specification.seed)],
    ["Versions", listed(found?.versions)],
    ["Content hashes", listed(found?.hashes)],
    ["Ran on", found ? `${found.device}, ${found.threads} ${found.threads === 1 ? "thread" : "threads"} per task` : null],
    ["Warnings", (report.warnings ?? []).join("; ")],
  ]));
}

function quantizerWords(chosen) {
  const settings = listed(chosen.settings);
  return [`${chosen.method}, per ${chosen.granularity}, first and last layer ${chosen.first_last}, residual ${chosen.residual_bits} bits`,
    settings ? `settings: ${settings}` : null, chosen.insert_normalisation ? "batch norms inserted" : null,
    typeof chosen.scale_adjustment === "boolean" ? `scales ${chosen.scale_adjustment ? "" : "not "}adjusted` : null].filter(Boolean).join("; ");
}

function postTrainingWords(chosen) {
  if (!chosen) return null;
  const before = [chosen.equalization ? "cross-layer equalization" : null, chosen.bias_absorption ? "bias absorption" : null, chosen.weight_splitting ? `${percent(chosen.weight_splitting)} of input channels split for weights` : null, chosen.activation_splitting ? `${percent(chosen.activation_splitting)} split for activations` : null];
  const after = chosen.preset === "best" ? `the best of a list, ${chosen.budget_s} s a candidate` : `${chosen.rounding} rounding${chosen.bias_correction === "none" ? "" : `, ${chosen.bias_correction} bias correction`}`;
  return [...before, after].filter(Boolean).join("; ");
}

function sensitivityWords(found) {
  if (!found) return null;
  const notes = Array.isArray(found.notes) ? found.notes.join("; ") : found.notes;
  return [found.metric, found.seconds === undefined ? null : `${duration(found.seconds)} of a budget of ${duration(found.budget_s)}`, notes].filter(Boolean).join(", ");
}

function listed(values) {
  if (!values) return null;
  return Object.entries(values).filter(([, value]) => value !== null && !(Array.isArray(value) && !value.length)).map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(" ") : value}`).join(", ");
}

export class Log {
  constructor() {
    this.root = byId("log");
    this.seen = new Set();
  }

  // Lines of one event; an event that comes twice (the stream was taken up again) is told by its number.
  add(number, { stage, point, at, level }, lines) {
    if (this.seen.has(number)) return;
    this.seen.add(number);
    const atEnd = this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < 40;
    const from = [at ? new Date(at).toLocaleTimeString("en-GB") : null, stage, Number.isInteger(point) ? `#${point + 1}` : null].filter(Boolean).join(" ");
    const bad = level === "error" || level === "warning";
    this.root.append(...lines.filter(Boolean).map((line) => h("li", { class: bad ? "bad" : "" }, h("span", { class: "muted" }, from), h("span", {}, String(line)))));
    while (this.root.childElementCount > LOG_LINES) this.root.firstElementChild.remove();
    if (atEnd) this.root.scrollTop = this.root.scrollHeight;
  }
}

const COLUMNS = (data) => [
  { title: "File", heading: true, cell: (file) => h("a", { href: `/artifacts/${file.id}`, download: file.filename }, file.filename), key: (file) => file.filename },
  { title: "Candidate", cell: (file) => withId(data.candidates, file.candidate_id)?.name ?? "job", key: (file) => withId(data.candidates, file.candidate_id)?.name ?? "" },
  { title: "Kind", cell: (file) => file.kind, key: (file) => file.kind },
  { title: "Size", number: true, cell: (file) => quantity("size", file.size_bytes), key: (file) => file.size_bytes },
  { title: "SHA-256", cell: (file) => h("code", { title: file.sha256 }, `${file.sha256.slice(0, 12)}…`) },
];

let grid = null;
export function showFiles(data) {
  grid ??= new Table(byId("files"), [], { caption: "Files of the job", empty: "Files appear as points are exported." });
  byId("files-all").querySelector("summary").textContent = data.artifacts.length ? `${data.artifacts.length} ${data.artifacts.length === 1 ? "file" : "files"}, with hashes` : "No files yet";
  grid.show(data.artifacts, COLUMNS(data));
}
