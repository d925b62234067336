// What became of a point's files when they were run: every comparison with its meaning, and the time that one image took.
import { chip, h } from "../dom.js";
import { digits, isNumber, percent, quantity } from "../format.js";

const EXACT = new Set(["executor-deploy", "integer-onnx-executor", "compiled-executor"]); // equality is promised of these

export function parityWords(candidate, quality) {
  const found = candidate.parity;
  if (!found?.comparisons) return null;
  return [h("p", { class: "small" }, summary(found, quality)),
    h("details", { class: "parity" }, h("summary", {}, "Parity report"),
      h("div", { class: "scroll" }, h("table", { class: "told" }, h("caption", { class: "visually-hidden" }, `Parity of the files of ${candidate.name}`),
        heads("Comparison, and what it means", "Result"), h("tbody", {}, found.comparisons.map((one) => comparisonRow(one, quality))))),
      sizeTable(found), refusals(found))];
}

const heads = (...words) => h("thead", {}, h("tr", {}, words.map((word) => h("th", { scope: "col" }, word))));

const explained = (title, meaning) => h("th", { scope: "row" }, title, h("p", { class: "why" }, meaning));

function summary(found, quality) {
  const qdq = found.comparisons.find((one) => one.name === "qdq-training");
  const integers = found.comparisons.find((one) => one.name === "executor-training");
  const words = [`The files were run. ONNX agrees with the trained model on ${percent(qdq?.agreement)} of ${qdq?.images} images, largest difference ${digits(qdq?.max_abs_difference)}; ${quality} ${percent(qdq?.accuracy)}.`];
  if (integers && !integers.skipped) words.push(`Integers alone agree on ${percent(integers.agreement)} of ${integers.images}.`);
  return words.join(" ");
}

function comparisonRow(one, quality) {
  const bad = !one.skipped && EXACT.has(one.name) && one.outputs_equal !== one.outputs;
  return h("tr", { data: { comparison: one.name } }, explained(one.title, one.meaning),
    h("td", { class: one.skipped ? "muted" : bad ? "bad" : "" }, one.skipped ? `Not compared: ${one.skipped}.` : resultWords(one, quality)));
}

function resultWords(one, quality) {
  const words = [];
  if (EXACT.has(one.name)) words.push(one.outputs_equal === one.outputs ? `equal to the bit on ${one.images} images` : `${one.outputs_equal} of ${one.outputs} outputs equal on ${one.images} images`);
  else words.push(`same prediction on ${percent(one.agreement)} of ${one.images} images`);
  if (one.codes && !EXACT.has(one.name)) words.push(`${percent(one.codes.equal, 3)} of activation codes equal, ${percent(one.codes.within_one_step, 3)} within one step`);
  if (isNumber(one.max_abs_difference) && !EXACT.has(one.name)) words.push(`largest difference ${digits(one.max_abs_difference)} of ${digits(one.largest_output)}`);
  if (isNumber(one.accuracy)) words.push(`${quality} ${percent(one.accuracy)}${one.accuracy === one.accuracy_against ? "" : ` against ${percent(one.accuracy_against)}`}`);
  return `${words.join("; ")}.`;
}

function sizeTable(found) {
  if (!found.files?.length) return null;
  return h("div", { class: "scroll" }, h("table", { class: "told" }, h("caption", { class: "visually-hidden" }, "Bytes of the files"), heads("File, and why it differs", "Bytes", "Promised"),
    h("tbody", {}, found.files.map((file) => h("tr", {}, explained(file.name, file.note), h("td", { class: "number" }, quantity("size", file.file_bytes)), h("td", { class: "number" }, quantity("size", file.promised_bytes)))))));
}

function refusals(found) {
  const refused = Object.entries(found.refused ?? {});
  return refused.length ? h("ul", { class: "plain small" }, refused.map(([file, why]) => h("li", {}, h("strong", {}, file), ` was not written: ${why}.`))) : null;
}

export function speedWords(candidate) {
  const found = candidate.speed;
  if (!found?.timings?.length) return null;
  const own = found.timings.at(-1);
  const float = found.timings.find((one) => one.network === "float");
  return h("details", { class: "speed" },
    h("summary", {}, chip(found.provenance), ` ${quantity("latency", own.median_s)} for one image in onnxruntime, ${quantity("latency", float?.median_s)} in float`),
    h("div", { class: "scroll" }, h("table", { class: "tight" }, h("caption", { class: "visually-hidden" }, `Measured speed of ${candidate.name}`), heads("Network", "Median", "Quartiles"),
      h("tbody", {}, found.timings.map((one) => h("tr", {}, h("th", { scope: "row" }, one.network), h("td", { class: "number" }, quantity("latency", one.median_s)), h("td", { class: "number" }, `${quantity("latency", one.lower_quartile_s)} to ${quantity("latency", one.upper_quartile_s)}`)))))),
    found.notes.map((note) => h("p", { class: "small" }, note)),
    h("p", { class: "small muted" }, `${found.device}, ${found.threads} ${found.threads === 1 ? "thread" : "threads"}, batch of ${found.batch}, ${found.repetitions} runs each, interleaved, after ${found.warm_up} to warm up; onnxruntime ${found.onnxruntime_version}. Other tasks may have run beside it.`));
}
