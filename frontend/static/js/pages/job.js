// The job page: loads, follows, and keeps every panel showing the same point.
import "../start.js";
import { all, get, post } from "../api.js";
import { byId, fill } from "../dom.js";
import { follow, gathered } from "../live.js";
import { guarded, showProblem as notice } from "../notices.js";
import { Figure } from "../plots.js";
import { Candidates } from "../job/candidates.js";
import { showCard } from "../job/card.js";
import { Editor } from "../job/editor.js";
import { Log, showFiles, showProvenance } from "../job/evidence.js";
import { Why } from "../job/explanation.js";
import { Front } from "../job/front.js";
import { ENDED, showHeader, showProblem, showTimeline } from "../job/header.js";
import { Layers } from "../job/layers.js";
import { showImages } from "../job/images.js";
import { Measurements } from "../job/measurements.js";
import { Metrics } from "../job/metrics.js";
import { suggested, withId } from "../job/reading.js";
import { Choices } from "../job/state.js";
import { Strategies } from "../job/strategies.js";

const id = document.body.dataset.id;
const address = `/jobs/${encodeURIComponent(id)}`;
const choices = new Choices();
const data = { job: null, candidates: [], report: null, artifacts: [], version: 0 };
let panels = null;
let shownOnce = false;

const build = () => ({ ...explained(), strategies: new Strategies(address), front: new Front(choices), layers: new Layers(choices), candidates: new Candidates(choices), curves: new Figure("curves", "curves"), metrics: new Metrics(address), log: new Log(), measurements: new Measurements(() => loadResults().catch(notice)) });

// The editor reads the ties and pins that the explanation tells.
function explained() {
  const why = new Why(choices);
  const editor = new Editor(choices, address, (candidate) => why.explanation(candidate));
  return { why, editor, onCard: { why: () => why.open(), edit: (candidate) => editor.open(candidate, data).catch(notice) } };
}

function shown() {
  const suggestion = suggested(data.candidates, data.report, choices.target);
  const pins = choices.pins.map((pin) => withId(data.candidates, pin)).filter(Boolean);
  return { picked: pins[0] ?? suggestion.candidate, other: pins[1] ?? null, why: suggestion.why, pinned: pins.length > 0 };
}

function showJob() {
  const { job } = data;
  if (!job.specification.targets.includes(choices.target)) choices.target = job.specification.targets[0];
  showHeader(byId("header"), job, { onCancel: cancel });
  showProblem(byId("problem"), job);
  showTimeline(byId("timeline"), job);
  showEmptiness();
}

// A job that ended without a point has nothing to draw: what remains is why, and the log.
function showEmptiness() {
  byId("content").classList.toggle("no-points", ENDED.has(data.job.state) && !data.candidates.length);
}

function showResults() {
  const view = shown();
  showEmptiness();
  showCard(byId("card"), { ...view, data, choices, measurements: panels.measurements, on: panels.onCard });
  panels.front.show(data.job, data, view.picked);
  panels.layers.show(data.job, view.picked, view.other, data);
  panels.candidates.show(data, view.picked);
  panels.metrics.show(data);
  panels.strategies.show(data);
  panels.why.show(view.picked, data);
  showImages(byId("images"), data);
  showProvenance(data.job, data.report);
  showFiles(data);
  showCurves(view.picked);
}

function showCurves(picked) {
  const key = `${data.version}${choices.pins[0] ?? ""}`;
  if (panels.curves.shown === key) return;
  panels.curves.shown = key;
  panels.curves.load(`${address}/figures/curves.json${choices.pins.length && picked ? `?candidate=${encodeURIComponent(picked.id)}` : ""}`).catch(() => { panels.curves.shown = null; });
}

// A hovered point previews its bit map; letting go returns to what is pinned.
function preview() {
  const view = shown();
  const hovered = choices.pins.includes(choices.hover) ? null : withId(data.candidates, choices.hover);
  panels.layers.show(data.job, hovered ?? view.picked, hovered ? null : view.other, data);
  if (hovered && !choices.pins.length) showCard(byId("card"), { picked: hovered, other: null, why: "Hovered: click to pin it.", pinned: false, data, choices, measurements: panels.measurements, on: panels.onCard });
  else showCard(byId("card"), { ...view, data, choices, measurements: panels.measurements, on: panels.onCard });
}

async function loadJob() {
  data.job = await get(address);
  showJob();
}

async function loadResults() {
  const [candidates, artifacts, report] = await Promise.all([all(`${address}/candidates`), all(`${address}/artifacts`), get(`${address}/report`).catch(() => null)]);
  const before = [JSON.stringify([data.candidates, data.report]), JSON.stringify(data.artifacts)];
  const now = [JSON.stringify([candidates, report]), JSON.stringify(artifacts)];
  Object.assign(data, { candidates, artifacts, report });
  if (now[0] !== before[0]) data.version += 1;
  if (now[0] !== before[0] || now[1] !== before[1] || !shownOnce) showResults();
  shownOnce = true;
}

async function cancel() {
  await guarded(async () => { data.job = await post(`${address}/cancel`); showJob(); });
}

function listen() {
  const results = gathered(() => loadResults().catch(notice), 400);
  const stop = follow(`${address}/events`, {
    state: (job) => {
      const ended = data.job && !ENDED.has(data.job.state) && ENDED.has(job.state);
      if (job.id) { data.job = job; showJob(); }
      if (ended) { results(); finish(); }
    },
    candidate: results,
    task: (event, message) => { panels.log.add(message.lastEventId, event, [taskWords(event)]); results(); },
    log: (event, message) => panels.log.add(message.lastEventId, event, event.lines ?? [event.message ?? ""]),
  }, () => loadJob().then(() => { results(); if (ENDED.has(data.job.state)) finish(); }).catch(() => {}));
  const finish = () => setTimeout(stop, 1500);
}

function taskWords(event) {
  if (event.state === "running" && event.progress) return "";
  const words = { running: "started", succeeded: "done" }[event.state] ?? event.state;
  return [words, event.message, event.problem?.detail].filter(Boolean).join(", ");
}

await guarded(async () => {
  await loadJob();
  panels = build();
  fill(byId("curves-controls"), panels.curves.downloads());
  choices.addEventListener("change", showResults);
  choices.addEventListener("hover", preview);
  await loadResults();
  listen();
}, byId("problem"));
