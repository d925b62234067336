// All jobs, newest first; live while one runs.
import "../start.js";
import { all } from "../api.js";
import { byId, h, stateChip } from "../dom.js";
import { exampleButton } from "../example.js";
import { duration, moment } from "../format.js";
import { ENDED, nameOf } from "../job/header.js";
import { emptyState, liveList } from "../lists.js";
import { Table } from "../table.js";

const COLUMNS = [
  { title: "Job", heading: true, class: "name", cell: (job) => h("a", { href: `/ui/jobs/${job.id}` }, nameOf(job)), key: (job) => job.name },
  { title: "State", cell: (job) => stateChip(job.state), key: (job) => job.state },
  { title: "Progress", cell: progress, key: (job) => job.progress },
  { title: "Targets", cell: (job) => job.specification.targets.join(", "), key: (job) => job.specification.targets.join() },
  { title: "Quantizer", cell: (job) => job.specification.quantizer.method, key: (job) => job.specification.quantizer.method },
  { title: "Points", number: true, cell: (job) => String(job.specification.search.points), key: (job) => job.specification.search.points },
  { title: "Took", number: true, cell: (job) => duration(job.elapsed_s), key: (job) => job.elapsed_s },
  { title: "Started", cell: (job) => moment(job.created_at), key: (job) => job.created_at },
];

function progress(job) {
  if (job.state === "failed") return h("span", { class: "bad" }, job.problem?.title ?? "failed");
  if (ENDED.has(job.state)) return "";
  if (job.state === "queued") return job.queue_position ? `${job.queue_position} before it` : "next";
  const left = job.eta_s === null ? "" : `, about ${duration(job.eta_s)} left`;
  return [h("progress", { max: 1, value: job.progress, "aria-label": "progress" }), h("span", { class: "small muted" }, `${job.stage ?? ""}${left}`)];
}

const table = new Table(byId("list"), COLUMNS, { caption: "Jobs" });

function show(jobs) {
  byId("list").className = jobs.length ? "panel scroll" : "";
  if (jobs.length) return table.show(jobs);
  return emptyState(byId("list"), "front.svg", ["A job takes a trained network and a data set, and finds how few bits each layer needs on your hardware: a front of accuracy against latency, and for each point on it a network to download.", "The example takes about a minute: a small network that reads handwritten digits."],
    exampleButton(), h("a", { class: "button", href: "/ui/jobs/new" }, "Bring your own network"));
}

await liveList(byId("list"), () => all("/jobs"), show, (jobs) => jobs.some((job) => !ENDED.has(job.state)));
