// Name, state, targets, elapsed and estimated time; clone and cancel; what went wrong; the stages.
import { chip, fill, h, stateChip } from "../dom.js";
import { duration, moment, quantity } from "../format.js";
import { problemNotice } from "../notices.js";

export const ENDED = new Set(["succeeded", "failed", "cancelled"]);

export const nameOf = (job) => job.name || `${job.model.name} ${job.dataset ? `on ${job.dataset.name}` : "without data"}`;

export function showHeader(root, job, { onCancel }) {
  const name = nameOf(job);
  document.title = `${job.state === "running" ? `${Math.round(100 * job.progress)} % · ` : ""}${name} · Bitfront`;
  fill(root,
    h("h1", {}, name),
    stateChip(job.state),
    h("a", { class: "chip", href: `/ui/models/${job.model.id}` }, `model ${job.model.name}`),
    chip(job.dataset ? `data ${job.dataset.name}` : "no data"),
    job.specification.targets.map((target) => h("a", { class: "chip", href: `/ui/targets/${encodeURIComponent(target)}` }, `on ${target}`)),
    h("span", { class: "muted" }, timeWords(job)),
    h("span", { class: "top-end" },
      h("a", { class: "button", href: `/ui/jobs/new?from=${job.id}` }, "Clone"),
      ENDED.has(job.state) ? null : h("button", { type: "button", class: "danger", data: { key: "cancel" }, disabled: job.state === "cancelling", onclick: onCancel }, job.state === "cancelling" ? "Cancelling…" : "Cancel")));
}

function timeWords(job) {
  if (job.state === "queued") return job.queue_position ? `waiting behind ${job.queue_position} ${job.queue_position === 1 ? "job" : "jobs"}` : "waiting for a worker";
  if (ENDED.has(job.state)) return [`${duration(job.elapsed_s)}, finished `, moment(job.finished_at ?? job.created_at)];
  const left = job.eta_s === null ? "estimating what is left" : `about ${duration(job.eta_s)} left`;
  return `${duration(job.elapsed_s)} elapsed, ${left}`;
}

export function showProblem(root, job) {
  if (!job.problem) return fill(root);
  const again = h("a", { class: "button primary", href: `/ui/jobs/new?from=${job.id}` }, "Change and run again");
  return fill(root, problemNotice(job.problem, reachable(job), again, h("a", { class: "button", href: "#log" }, "See the log")));
}

// An infeasible constraint names the smallest value that can be reached: one click asks for that.
function reachable(job) {
  const { metric, target, unit, smallest, smallest_absolute: absolute } = job.problem.facts ?? {};
  if (job.problem.code !== "infeasible" || typeof smallest !== "number" || !metric) return null;
  const baseline = unit?.startsWith("ratio to ") ? unit.slice("ratio to ".length) : null;
  const limit = { from: job.id, metric, at_most: String(roundedUp(smallest)), ...(target ? { target } : {}), ...(baseline ? { relative_to: baseline } : { unit }) };
  const amount = metric.startsWith("average-") ? `${roundedUp(smallest)} bits` : quantity(metric, absolute);
  return h("a", { class: "button primary", href: `/ui/jobs/new?${new URLSearchParams(limit)}` }, `Use ${baseline ? `${roundedUp(smallest)} × ${baseline} (${amount})` : amount}`);
}

// Four digits, never below: what is asked for has to be within reach.
function roundedUp(value) {
  const step = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 3);
  return Number((Math.ceil(value / step - 1e-9) * step).toPrecision(4));
}

const SIGNS = { succeeded: "✓", failed: "✗", cancelled: "–", running: "", queued: "", waiting: "" };
const NAMES = { finetune: "fine-tune", costs: "cost tables", joint: "train jointly", synthesize: "make images" };

export function showTimeline(root, job) {
  fill(root, job.stages.map(notReached).map((stage) => h("li", { data: { state: stage.state } },
    h("span", { class: "stage" }, h("span", {}, NAMES[stage.stage] ?? stage.stage), h("span", { class: stage.state === "failed" ? "bad" : "good", "aria-label": stage.state }, SIGNS[stage.state])),
    stage.state === "running" ? h("progress", { max: 1, value: stage.progress, "aria-label": `${stage.stage}: ${Math.round(100 * stage.progress)} %` }) : null,
    h("span", { class: "detail", title: stage.message || null }, stageWords(stage)))));
}

// Tasks that fell with an earlier one were never begun.
function notReached(stage) {
  return stage.state === "failed" && stage.problem?.code === "dependency-failed" ? { ...stage, state: "cancelled", failed: 0, done: 0, total: 1 } : stage;
}

function stageWords(stage) {
  const reused = stage.reused && stage.reused === stage.total ? "reused" : null;
  const failed = stage.failed ? `${stage.failed} failed` : null;
  const count = stage.total > 1 ? `${stage.done} / ${stage.total}` : null;
  const time = stage.seconds === null || reused ? null : duration(stage.seconds);
  const message = stage.state === "running" ? stage.message : null;
  const words = [count, failed, reused ?? time, message].filter(Boolean).join(" · ");
  return words || (stage.state === "cancelled" ? "not run" : "waiting");
}
