// How sensitivity is measured: the metric, what judges tensors, and further metrics to compare with it.
import { h } from "../dom.js";
import { write } from "./schema.js";

const LABELS = {
  "sensitivity.metric": "Sensitivity", "sensitivity.budget_s": "Time for sensitivity (s)", "sensitivity.samples": "Images for sensitivity",
  "sensitivity.activations": "Judge of activations", "sensitivity.compare": "Metrics to compare", "sensitivity.per_channel": "Output channels on their own",
  "sensitivity.mask_share": "Masked share",
};

// Fields of the form; those that only some metrics read come with them.
export function sensitivityFields(fields, values, catalogue, changed) {
  const cards = catalogue.sensitivity_metrics ?? [];
  const metric = values.sensitivity.metric;
  const shown = ["sensitivity.metric", "sensitivity.budget_s", "sensitivity.samples", "sensitivity.activations"];
  if (cards.find((card) => card.id === metric)?.per_channel || values.sensitivity.per_channel) shown.push("sensitivity.per_channel");
  if (metric === "mask-guided") shown.push("sensitivity.mask_share");
  return [...shown.map((path) => fields.field(path, { label: LABELS[path] })),
    fields.field("sensitivity.compare", { label: LABELS["sensitivity.compare"], wide: true, element: metricChoices(values, cards, changed) })];
}

function metricChoices(values, cards, changed) {
  const chosen = () => values.sensitivity.compare ?? [];
  const toggle = (id, on) => { write(values, "sensitivity.compare", cards.map((card) => card.id).filter((one) => (one === id ? on : chosen().includes(one)))); changed("sensitivity.compare"); };
  return h("div", { class: "rows", role: "group" }, cards.map((card) => h("label", { class: "choice" },
    h("input", { type: "checkbox", checked: chosen().includes(card.id), data: { metric: card.id }, onchange: (event) => toggle(card.id, event.target.checked) }),
    h("span", {}, h("strong", {}, card.title), ". ", h("span", { class: "muted" }, card.summary ?? "")))));
}
