// What is done to every candidate without training it; and the preset that tries a short list.
import { h } from "../dom.js";

const BASIC = ["preset", "rounding", "bias_correction", "samples"];
const BEST = ["preset", "budget_s", "samples"];
const FOLDED = [
  ["Before ranges are taken", "even channels, split outliers", ["equalization", "bias_absorption", "weight_splitting", "activation_splitting"]],
  ["Learned rounding", "steps, and how errors count", ["iterations", "fisher"]],
];
const LABELS = {
  preset: "What is done", budget_s: "Time for each candidate (s)", samples: "Images for rounding", rounding: "Rounding of weights", bias_correction: "Bias correction",
  equalization: "Cross-layer equalization", bias_absorption: "Bias absorption", weight_splitting: "Split for weights", activation_splitting: "Split for activations", iterations: "Steps a layer or block", fisher: "Fisher weighting",
};

export function postTrainingFields(fields, values, opened) {
  const one = (name) => fields.field(`post_training.${name}`, { label: LABELS[name] });
  const best = values.post_training.preset === "best";
  const folded = best ? FOLDED.slice(0, 1) : FOLDED;
  return [
    (best ? BEST : BASIC).map(one),
    folded.map(([title, note, names]) => h("details", { class: "wide sub", data: { group: title }, open: opened.has(title) }, h("summary", {}, h("strong", {}, title), ` · ${note}`), h("div", { class: "fields" }, names.map(one)))),
  ];
}
