// The picked point: what it reaches, what it costs, how sure that is, and its files. Two points: their difference.
import { bitCell, chip, fill, h } from "../dom.js";
import { digits, isNumber, percent, points, quantity, signed } from "../format.js";
import { agrees, averageBits, calibrated, capital, cost, final, mean, named, quality } from "./reading.js";
import { parityWords, speedWords } from "./parity.js";
import { postTrainingWords } from "./post_training.js";
import { trainingWords } from "./training.js";

const KINDS = { "onnx-qdq": "ONNX", "onnx-integer": "Integer ONNX", packed: "Packed", "c-source": "C", qonnx: "QONNX", tensorrt: "TensorRT", aimet: "AIMET", "policy-json": "Policy JSON", "policy-csv": "Policy CSV", "policy-haq": "HAQ", "policy-hawq": "HAWQ", parity: "Parity", speed: "Speed" };
const FLOAT_BYTES = 4;

export function showCard(root, { picked, other, why, pinned, data, choices, measurements, on }) {
  if (!picked) return fill(root, h("h2", {}, "The picked point"), h("p", { class: "muted" }, "Points appear here as soon as the search has found them."));
  if (other) return fill(root, difference(picked, other, data, choices));
  return fill(root, single(picked, why, pinned, data, choices, measurements, on));
}

function head(candidate, mark, choices, pinned) {
  return h("div", { class: "card-head" },
    mark ? h("span", { class: `pin-mark ${mark}` }, mark.toUpperCase()) : null,
    h("h2", {}, candidate.name), chip(candidate.origin === "search" ? "found by search" : candidate.origin),
    pinned ? h("button", { type: "button", class: "quiet small end", data: { key: `unpin-${candidate.id}` }, "aria-label": `Unpin ${candidate.name}`, onclick: () => choices.toggle(candidate.id) }, "Unpin") : null);
}

function single(candidate, why, pinned, data, choices, measurements, on) {
  return [
    head(candidate, null, choices, pinned),
    pinned ? null : h("p", { class: "muted small" }, why),
    candidate.problem ? h("div", { class: "notice bad" }, h("strong", {}, candidate.problem.title), h("p", {}, candidate.problem.detail), h("p", {}, candidate.problem.hint)) : null,
    h("dl", { class: "big" }, accuracyRows(candidate, data), latencyRows(candidate, data, choices.target), sizeRows(candidate, data)),
    substituteWords(candidate, choices.target), certificateWords(candidate, data), explainButtons(candidate, on), parityWords(candidate, quality(data)), speedWords(candidate), postTrainingWords(candidate), trainingWords(candidate), fileButtons(candidate, data), measurements.section(candidate, data, choices.target),
    h("p", { class: "muted small" }, pinned ? "Pick a second point to see the difference." : "Click a point, or its name in the table, to pin it."),
  ];
}

function accuracyRows(candidate, data) {
  const { value, words, samples } = final(candidate);
  const float = data.report?.float?.report?.accuracy;
  const before = calibrated(candidate);
  const loss = candidate.predicted?.loss_increase;
  if (value === null) return [h("dt", {}, "–"), h("dd", {}, `${quality(data)} not evaluated yet`, isNumber(loss) ? `; predicted loss increase ${digits(loss)}` : "")];
  const error = samples ? ` ± ${(100 * Math.sqrt((value * (1 - value)) / samples)).toFixed(2)} (standard error, ${samples} images)` : "";
  return [h("dt", {}, percent(value)), h("dd", {},
    agrees(data) ? [h("strong", {}, "agreement with the float network"), ", in place of accuracy: the images have no labels. "] : isNumber(float) ? [h("strong", {}, points(value - float)), " against float. "] : null,
    `Report split${data.report?.splits?.select_is_report ? " (which is the select split as well)" : ""}, ${words}${error}.`, words === "after training" && before !== null ? ` ${percent(before)} after calibration.` : "")];
}

function latencyRows(candidate, data, target) {
  const rows = [];
  for (const axis of ["latency", "energy"]) {
    const value = cost(candidate, axis, target);
    if (!isNumber(value)) continue;
    const reference = cost(named(data.candidates, "uniform-8"), axis, target);
    const facts = data.report?.costs?.[target];
    const provenance = candidate.costs[target].provenance ?? facts?.provenance;
    rows.push(h("dt", {}, quantity(axis, value)), h("dd", {}, chip(provenance), ` ${axis} on ${target}`, facts?.batch ? `, batch of ${facts.batch}` : "", isNumber(reference) && reference > 0 ? [". ", h("strong", {}, `${digits(value / reference, 2)} ×`), " uniform-8"] : ""));
  }
  return rows;
}

function sizeRows(candidate, data) {
  const parameters = data.report?.inventory?.total_parameters;
  const smaller = parameters && candidate.size_bytes ? (FLOAT_BYTES * parameters) / candidate.size_bytes : null;
  const widths = ["weights", "activations"].map((side) => averageBits(candidate, side));
  return [h("dt", {}, quantity("size", candidate.size_bytes)), h("dd", {}, smaller ? [h("strong", {}, `${digits(smaller, 2)} ×`), " smaller than float32 weights. "] : null,
    isNumber(widths[0]) ? `Mean bits: weights ${widths[0].toFixed(1)}, activations ${widths[1].toFixed(1)}.` : "")];
}

// A target that cannot run a pair of widths runs it as another, and is costed so.
function substituteWords(candidate, target) {
  const count = Object.keys(candidate.costs?.[target]?.substituted ?? {}).length;
  return count ? h("p", { class: "small warn" }, `${count} ${count === 1 ? "layer runs" : "layers run"} at other widths on ${target}, and ${count === 1 ? "is" : "are"} costed so.`) : null;
}

// Whose objective was proved, how, and how far; or that nothing was.
function certificateWords(candidate, data) {
  const found = candidate.certificate;
  if (candidate.origin !== "search") return null;
  if (!found || !isNumber(found.gap)) return h("p", { class: "small muted" }, `Not proved: found by a heuristic${data.report?.search?.strategy ? ` (${data.report.search.strategy})` : ""}.`);
  const of = found.of ?? "predicted loss";
  const share = isNumber(found.objective) && found.objective > 0 ? ` (${digits((100 * found.gap) / found.objective, 2)} %)` : "";
  const sure = found.gap <= 1e-9 ? `Proved optimal for the ${of} at its budget` : `Within ${digits(found.gap, 2)}${share} of the best ${of} at its budget`;
  return h("p", { class: "small muted" }, `${sure}${PROOFS[found.proof] ? `, ${PROOFS[found.proof]}` : ""}${found.rechecked ? "; re-checked in integers" : ""}.`);
}

const PROOFS = { enumeration: "by looking at all that could be better", solver: "by the solver's bound", front: "by the bound of the whole front" };

function explainButtons(candidate, on) {
  if (!on || !candidate.policy) return null;
  return h("div", { class: "files-row" }, h("button", { type: "button", class: "small", data: { key: "why" }, onclick: on.why }, "Why these bits"),
    h("button", { type: "button", class: "small", data: { key: "edit" }, onclick: () => on.edit(candidate) }, "Edit bits"));
}

function fileButtons(candidate, data) {
  const files = Object.keys(KINDS).flatMap((kind) => data.artifacts.filter((file) => file.candidate_id === candidate.id && file.kind === kind));
  if (!files.length) return candidate.problem ? null : h("p", { class: "small muted" }, "Files appear once the point is exported.");
  const bundle = candidate.state === "exported" ? h("a", { class: "button small", href: `/candidates/${candidate.id}/bundle`, download: `${candidate.name}.bundle.zip`, title: "all files, parity, figures, hashes, how to run each, and the job that makes it again", data: { kind: "bundle" } }, "Bundle") : null;
  return h("div", { class: "files-row" }, bundle, files.map((file) => h("a", { class: `button small${file.kind === "onnx-qdq" ? " primary" : ""}`, href: `/artifacts/${file.id}`, download: file.filename, title: `${file.filename}, ${quantity("size", file.size_bytes)}`, data: { kind: file.kind } }, KINDS[file.kind])));
}

function difference(a, b, data, choices) {
  const target = choices.target;
  const rows = [
    [capital(quality(data)), percent(final(a).value), percent(final(b).value), points(minus(final(b).value, final(a).value))],
    ...["latency", "energy", "size", "bit-operations"].map((axis) => costRow(axis, cost(a, axis, target), cost(b, axis, target))),
    ["Mean W bits", digits(averageBits(a, "weights"), 2), digits(averageBits(b, "weights"), 2), signed(digits(minus(averageBits(b, "weights"), averageBits(a, "weights")), 2))],
    ["Mean A bits", digits(averageBits(a, "activations"), 2), digits(averageBits(b, "activations"), 2), signed(digits(minus(averageBits(b, "activations"), averageBits(a, "activations")), 2))],
  ].filter((row) => row[1] !== "–" || row[2] !== "–");
  const heading = [h("td", {}), ...[a, b].map((one, index) => h("th", { scope: "col", class: "number" }, h("span", { class: `pin-mark ${"ab"[index]}` }, "AB"[index]))), h("th", { scope: "col", class: "number" }, "B − A")];
  return [head(a, "a", choices, true), head(b, "b", choices, true),
    h("div", { class: "scroll" }, h("table", { class: "tight" }, h("caption", { class: "visually-hidden" }, `${a.name} against ${b.name}`), h("thead", {}, h("tr", {}, heading)), h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", { class: "number" }, cell))))))),
    changedLayers(a, b), h("div", {}, h("p", { class: "small muted" }, a.name), fileButtons(a, data)), h("div", {}, h("p", { class: "small muted" }, b.name), fileButtons(b, data))];
}

const minus = (left, right) => (isNumber(left) && isNumber(right) ? left - right : null);

function costRow(axis, left, right) {
  const words = { latency: "Latency", energy: "Energy", size: "Size", "bit-operations": "Bit operations" }[axis];
  const ratio = isNumber(left) && isNumber(right) && left > 0 ? `${signed(digits(100 * (right / left - 1), 3))} %` : "–";
  return [words, quantity(axis, left), quantity(axis, right), ratio];
}

function changedLayers(a, b) {
  const names = Object.keys(a.policy.layers);
  const changed = names.filter((name) => ["weights", "activations"].some((side) => mean(a.policy.layers[name][side]) !== mean(b.policy.layers[name]?.[side])));
  const line = (name) => h("li", {}, h("span", {}, `${name}: W `), bitCell(a.policy.layers[name].weights), " → ", bitCell(b.policy.layers[name].weights), " A ", bitCell(a.policy.layers[name].activations), " → ", bitCell(b.policy.layers[name].activations));
  return h("details", {}, h("summary", {}, `${changed.length} of ${names.length} layers differ`), h("ul", { class: "plain" }, changed.map(line)));
}
