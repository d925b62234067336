// The parts of a job that are lists: targets, constraints, pinned layers.
import { fill, h } from "../dom.js";
import { select } from "./fields.js";

const METRIC_UNITS = { latency: ["ms", "us", "s"], energy: ["mJ", "uJ", "J"], size: ["MB", "kB", "MiB", "KiB", "B"], "bit-operations": ["GBOP"], "average-weight-bits": ["bits"], "average-activation-bits": ["bits"], "activation-memory": ["KiB", "kB", "B", "MiB", "MB"] };
const METRIC_WORDS = { latency: "latency", energy: "energy", size: "size", "bit-operations": "bit operations", "average-weight-bits": "mean weight bits", "average-activation-bits": "mean activation bits", "activation-memory": "activation memory" };
const BASELINES = [8, 6, 5, 4, 3, 2].map((bits) => `uniform-${bits}`);
const MANY = 6; // targets that are taken in at a glance
const PIN_BITS = [1, 2, 3, 4, 5, 6, 7, 8, 32];

export function targetChoices(values, targets, changed) {
  const toggle = (id, on) => { values.targets = targets.map((one) => one.id).filter((one) => (one === id ? on : values.targets.includes(one))); changed("targets"); };
  const row = (target) => h("label", { class: "choice" },
    h("input", { type: "checkbox", checked: values.targets.includes(target.id), onchange: (event) => toggle(target.id, event.target.checked) }),
    h("span", {}, h("strong", {}, target.name), ` · ${target.provenance}${target.own ? ", own" : ""}. `, h("span", { class: "muted" }, target.description), " ", h("a", { href: `/ui/targets/${encodeURIComponent(target.id)}`, target: "_blank" }, "About it")));
  // Own ones and those that are ticked stand first; the others are found by a word.
  const first = (target) => Number(values.targets.includes(target.id)) * 2 + Number(Boolean(target.own));
  const rows = [...targets].sort((one, other) => first(other) - first(one)).map((target) => ({ target, element: row(target), words: JSON.stringify([target.id, target.name, target.kind, target.description]).toLowerCase() }));
  const find = (text) => { for (const { target, element, words } of rows) element.hidden = !values.targets.includes(target.id) && !text.toLowerCase().split(/\s+/).every((word) => words.includes(word)); };
  return h("div", { class: "rows", role: "group" },
    targets.length > MANY ? h("input", { type: "search", "aria-label": "Find a target", placeholder: `find among ${targets.length} targets`, oninput: (event) => find(event.target.value) }) : null,
    h("div", { class: "rows few" }, rows.map(({ element }) => element)));
}

export function constraintRows(values, targets, changed) {
  const root = h("div", { class: "rows", role: "group" });
  const list = () => values.search.constraints;
  const draw = () => fill(root, list().map((one, index) => row(one, index)), h("div", {}, h("button", { type: "button", class: "small", onclick: add }, "Add a limit")));
  const add = () => { list().push({ metric: "latency", target: values.targets[0], relative_to: "uniform-8", at_most: 0.6 }); update(); };
  const update = () => { draw(); changed("search.constraints"); };

  function row(one, index) {
    const costed = ["latency", "energy"].includes(one.metric);
    const units = METRIC_UNITS[one.metric];
    const put = (changes) => { Object.assign(one, changes); normalise(one, values); update(); };
    return h("div", { class: "row-edit" },
      named("Quantity", select(Object.entries(METRIC_WORDS), one.metric, (metric) => put({ metric, unit: one.relative_to ? undefined : METRIC_UNITS[metric][0] }))),
      costed ? ["on", named("Target", select(targets.map((target) => [target.id, target.name]), one.target, (target) => put({ target })))] : null,
      "at most",
      named("Limit", h("input", { type: "number", min: 0, step: "any", value: one.at_most, oninput: (event) => { one.at_most = event.target.value === "" ? undefined : Number(event.target.value); changed("search.constraints"); } })),
      named("Unit", select([...BASELINES.map((baseline) => [baseline, `× ${baseline}`]), ...units.map((unit) => [unit, unit.replace("us", "µs").replace("uJ", "µJ")])], one.relative_to ?? one.unit, (unit) => put(BASELINES.includes(unit) ? { relative_to: unit, unit: undefined } : { relative_to: undefined, unit }))),
      h("button", { type: "button", class: "quiet small", "aria-label": `Remove limit ${index + 1}`, onclick: () => { list().splice(index, 1); update(); } }, "Remove"));
  }

  draw();
  return root;
}

function normalise(one, values) {
  if (["latency", "energy"].includes(one.metric)) one.target ??= values.targets[0];
  else delete one.target;
  for (const key of ["relative_to", "unit"]) if (one[key] === undefined || one[key] === null) delete one[key];
}

function named(words, control) {
  control.setAttribute("aria-label", words);
  return control;
}

// Layers by name with fixed widths; empty cells are left to the search.
export function pinRows(values, layers, changed) {
  const root = h("div", { class: "rows", role: "group" });
  if (!layers.length) return fill(root, h("p", { class: "muted" }, "Choose a model first: its layers appear here."));
  const options = [["", "search"], ...PIN_BITS.map((bits) => [String(bits), bits === 32 ? "float" : String(bits)])];
  const side = (layer, which) => {
    const control = select(options, String(values.pins[layer.name]?.[which] ?? ""), (text) => { pin(layer.name, which, text === "" ? null : Number(text)); });
    return h("td", {}, named(`${which} of ${layer.name}`, control));
  };
  const pin = (name, which, bits) => {
    const next = { ...values.pins[name], [which]: bits };
    if (next.weights === null || next.weights === undefined) delete next.weights;
    if (next.activations === null || next.activations === undefined) delete next.activations;
    if (Object.keys(next).length) values.pins[name] = next;
    else delete values.pins[name];
    changed("pins");
  };
  const head = h("tr", {}, ["Layer", "Weight bits", "Activation bits"].map((title) => h("th", { scope: "col" }, title)));
  return fill(root, h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, layers.map((layer) => h("tr", {}, h("th", { scope: "row" }, layer.name), side(layer, "weights"), side(layer, "activations")))))));
}
