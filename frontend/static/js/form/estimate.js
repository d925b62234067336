// How long a job will take, before it starts. Scaled from this server's finished jobs where there are any.
import { baselineWidths } from "./joint.js";

const ASSUMED_MACS_PER_S = 2e9; // one CPU thread on small convolutions with fake quantization: an order of magnitude
const TRAINING = 3; // a forward and a backward pass cost about three forward passes
const DISTILLATION = 1.3; // the float network looks at each image as well
const EACH_POINT_S = 0.7; // starting, writing and running a candidate's files
const FIXED_S = 12; // starting, inspecting, calibrating, searching
const PROBES = 60; // passes over the sensitivity images
const STAGES = { fixed: ["inspect", "calibrate", "costs", "search", "report"], sensitivity: ["traces", "sensitivity"], points: ["joint", "evaluate", "finetune", "export"] };

export function imagesOf(dataset) {
  const count = (split) => dataset?.summary?.splits?.[split]?.images ?? 0;
  return { train: count("train"), select: count("select"), report: count("report") };
}

export function baselines({ quantizer }, { methods }) {
  return baselineWidths(methods.find((card) => card.id === quantizer.method), quantizer.settings).length;
}

const slots = (specification, catalogue) => specification.search.points + baselines(specification, catalogue) + specification.policies.length;

// Seconds if a thread did ASSUMED_MACS_PER_S; the measured seconds of a like job correct that.
function assumed(specification, macs, images, catalogue) {
  const training = specification.training;
  const epochs = training ? training.epochs * (TRAINING * images.train * (training.distillation ? DISTILLATION : 1) + images.select) : 0;
  const each = (macs * (epochs + 2 * (images.select + images.report))) / ASSUMED_MACS_PER_S;
  const sensitivity = Math.min(specification.sensitivity.budget_s, (macs * PROBES * specification.sensitivity.samples) / ASSUMED_MACS_PER_S) * (1 + (specification.sensitivity.compare ?? []).length);
  return { fixed: FIXED_S + making(specification, macs, images), sensitivity, points: slots(specification, catalogue) * (EACH_POINT_S + each) };
}

// Images are optimised by passes forward and backward; a generator learns once, on batches of 32.
function making({ dataset_id: dataset, synthetic }, macs, images) {
  if (dataset !== null || synthetic.source === "range-noise") return 0;
  const passed = synthetic.source === "generator" ? 32 : images.train + images.select + images.report;
  return (macs * TRAINING * passed * synthetic.iterations) / ASSUMED_MACS_PER_S;
}

// Seconds, and the number of finished jobs they rest on.
export function estimate(specification, model, dataset, data) {
  if (!model?.total_macs || !dataset?.summary) return null;
  const own = assumed(specification, model.total_macs, imagesOf(dataset), data.catalogue);
  const known = data.jobs.map((job) => corrections(job, data)).filter(Boolean);
  const seconds = Object.keys(own).map((part) => own[part] * median(known.map((one) => one[part])));
  return { seconds: seconds.reduce((sum, one) => sum + one, 0), measured: known.length };
}

// By what factor each part of a finished job took longer than assumed. A job that re-used results says nothing.
function corrections(job, { models, datasets, catalogue }) {
  const model = models.find((one) => one.id === job.model.id);
  const dataset = datasets.find((one) => one.id === job.dataset?.id);
  const reused = job.stages.some((stage) => stage.reused > stage.total / 2);
  if (job.state !== "succeeded" || reused || !model?.total_macs || !dataset?.summary) return null;
  const expected = assumed(job.specification, model.total_macs, imagesOf(dataset), catalogue);
  return Object.fromEntries(Object.entries(STAGES).map(([part, names]) => [part, secondsOf(job, names) / Math.max(expected[part], 1e-3)]));
}

function secondsOf(job, names) {
  return job.stages.filter((stage) => names.includes(stage.stage)).reduce((sum, stage) => sum + (stage.seconds ?? 0), 0);
}

function median(values) {
  if (!values.length) return 1;
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

// Bytes on disk: checkpoints with optimizer state, trained weights, and the exported files of every candidate.
export function disk(specification, model, catalogue) {
  if (!model?.total_parameters) return null;
  return slots(specification, catalogue) * model.total_parameters * ((specification.training ? 4 * 4 : 0) + 7); // QONNX keeps weights as floats
}
