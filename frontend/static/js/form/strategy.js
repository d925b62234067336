// How policies are found: a strategy with its settings, evaluations, others to compare with, and programmes of papers.
import { h } from "../dom.js";
import { paperLink } from "../methods/card.js";
import { settingFields } from "./method.js";
import { select } from "./fields.js";
import { write } from "./schema.js";

const LABELS = { "search.evaluations": "Evaluations", "search.evaluate_by": "Told of a policy", "search.compare": "Strategies to compare", "bits.same": "Same width for weights and activations" };

export function strategyFields(fields, values, catalogue, changed) {
  const card = strategyOf(catalogue, values);
  const asked = card?.evaluates || comparesAsking(catalogue, values);
  return [
    h("div", { class: "field wide method" }, fields.field("search.strategy"), card ? about(card) : null),
    settingFields(fields, card, "search.settings"),
    ...(asked ? ["search.evaluations", "search.evaluate_by"] : []).map((path) => fields.field(path, { label: LABELS[path] })),
    fields.field("seed"),
    fields.field("search.compare", { label: LABELS["search.compare"], wide: true, element: others(values, catalogue.strategies, changed) }),
  ];
}

export const strategyOf = (catalogue, values) => catalogue.strategies.find((card) => card.id === values.search.strategy);
export const sameField = (fields) => fields.field("bits.same", { label: LABELS["bits.same"] });

function comparesAsking(catalogue, values) {
  return catalogue.strategies.some((card) => card.evaluates && (values.search.compare ?? []).includes(card.id));
}

function about(card) {
  return h("div", { class: "about", data: { strategy: card.id } },
    card.paper ? h("p", { class: "small" }, paperLink(card)) : null,
    card.reconstruction_notes ? h("p", { class: "small" }, card.reconstruction_notes) : null,
    h("p", { class: "small muted" }, card.trains ? "Trains the network: its widths fall out of training." : card.evaluates ? "Asks about policies one by one, within the evaluations." : "Asks about no policy: it computes with the predicted losses."));
}

function others(values, cards, changed) {
  const chosen = () => values.search.compare ?? [];
  const toggle = (id, on) => { write(values, "search.compare", cards.map((card) => card.id).filter((one) => (one === id ? on : chosen().includes(one)))); changed("search.compare"); };
  return h("div", { class: "rows few", role: "group" }, cards.filter((card) => card.id !== values.search.strategy).map((card) => h("label", { class: "choice" },
    h("input", { type: "checkbox", checked: chosen().includes(card.id), data: { strategy: card.id, key: `compare-${card.id}` }, onchange: (event) => toggle(card.id, event.target.checked) }),
    h("span", {}, h("strong", {}, card.title), h("span", { class: "muted" }, card.evaluates ? " · asks" : card.trains ? " · trains" : "")))));
}

// Published programmes: choosing one sets the fields it names, and says what differs from the paper.
export function programmes(values, catalogue, chosen, apply) {
  const presets = catalogue.search_presets ?? [];
  if (!presets.length) return null;
  const found = presets.find((preset) => preset.id === chosen);
  const pick = (id) => apply(presets.find((preset) => preset.id === id) ?? null);
  const control = select([["", "as below"], ...presets.map((preset) => [preset.id, preset.title])], chosen ?? "", pick);
  Object.assign(control, { id: "programme" });
  control.dataset.key = "programme";
  return h("div", { class: "field wide" }, h("label", { for: "programme", class: "label" }, "Programme of a paper"), control,
    h("p", { class: "why", role: "status" }, found ? [found.notes, " ", h("a", { href: found.link, target: "_blank", rel: "noreferrer" }, found.paper)] : "Sets strategy, sensitivity and widths as a paper has them; everything stays open to change."));
}

// Settings are the strategy's own: another one starts with its defaults.
export function fitToStrategy(values) {
  values.search.settings = {};
  values.search.compare = (values.search.compare ?? []).filter((one) => one !== values.search.strategy);
}

export function applyProgramme(values, preset) {
  const before = values.search.strategy;
  for (const [path, value] of Object.entries(preset.set)) write(values, path, structuredClone(value));
  if (values.search.strategy !== before) fitToStrategy(values);
}

