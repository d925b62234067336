// The parts of a target's page: parameters with unit and source, the fit row by row, the formula of its kind.
import { facts, h } from "../dom.js";
import { digits } from "../format.js";
import { Table } from "../table.js";
import { paperLink } from "../methods/card.js";
import { figureOf, memoryWords, residual, supportWords, unitOf, valueOf } from "./words.js";

export function parameterTable(target, kind) {
  const schema = kind?.parameters_schema?.properties ?? {};
  const { sources = {}, ...parameters } = target.parameters;
  const rows = [...(target.clock_hz ? [["clock_hz", target.clock_hz]] : []), ...Object.entries(parameters)];
  if (!rows.length) return h("p", { class: "muted" }, "This target has no parameters.");
  const fitted = new Set(target.fit?.parameters ?? []);
  return h("div", { class: "scroll" }, h("table", { class: "told parameters" },
    h("caption", { class: "visually-hidden" }, "Parameters with units and sources"),
    h("thead", {}, h("tr", {}, ["Parameter", "Value", "Unit", "Where it comes from"].map((title) => h("th", { scope: "col", class: title === "Value" ? "number" : "" }, title)))),
    h("tbody", {}, rows.map(([name, value]) => h("tr", {},
      h("th", { scope: "row" }, h("code", {}, name), fitted.has(name) ? h("span", { class: "badge" }, "fitted") : null, schema[name]?.description ? h("p", { class: "why" }, schema[name].description) : null),
      h("td", { class: typeof value === "number" ? "number" : "" }, valueOf(value)), h("td", { class: "nowrap" }, unitOf(name)), h("td", {}, sources[name] ?? "–"))))));
}

const FIT_COLUMNS = [
  { title: "Figure", heading: true, class: "name", cell: (row) => row.name, key: (row) => row.name, raw: (row) => row.name, csv: "name" },
  { title: "Quantity", cell: (row) => row.quantity.replace(/_[sj]$/, ""), key: (row) => row.quantity, raw: (row) => row.quantity, csv: "quantity" },
  { title: "Given", number: true, cell: (row) => figureOf(row, row.given), key: (row) => row.given, raw: (row) => row.given, csv: "given" },
  { title: "Ours", number: true, cell: (row) => figureOf(row, row.predicted), key: (row) => row.predicted, raw: (row) => row.predicted, csv: "predicted" },
  { title: "Residual", number: true, cell: residual, key: (row) => Math.abs(row.predicted / row.given - 1), raw: (row) => row.predicted / row.given - 1, csv: "residual" },
  { title: "Used", cell: (row) => (row.kept_apart ? "kept apart, to judge the fit" : "fitted to"), key: (row) => String(row.kept_apart), raw: (row) => (row.kept_apart ? "kept apart" : "fitted"), csv: "used" },
];

export function fitPanel(fit, name) {
  const place = h("div", { class: "scroll" });
  const table = new Table(place, FIT_COLUMNS, { caption: "Figures that parameters were fitted to, and those kept apart", rowOptions: (row) => ({ class: row.kept_apart ? "apart" : "" }), empty: "The figures are not listed." });
  table.show(fit.rows);
  return [
    h("header", { class: "panel-head" }, h("h2", {}, "Fit"), fit.rows.length ? h("button", { type: "button", class: "quiet small", "aria-label": "fit as a table (CSV)", onclick: () => table.save(`bitfront-fit-${name}.csv`) }, "CSV") : null),
    facts([["Fitted", fit.parameters.join(", ")], ["To", fit.to], ["Nothing else", "was adjusted"]]), place,
  ];
}

export function kindPart(kind) {
  if (!kind) return null;
  return [
    h("p", {}, h("strong", {}, kind.title), " ", h("span", { class: "small" }, paperLink(kind))),
    h("pre", { class: "formula", tabindex: "0", "aria-label": "Formula" }, kind.formula.replaceAll("; ", ";\n").replaceAll(/\. (?=energy_j)/g, ".\n")),
    h("p", { class: "small" }, kind.notes),
    h("p", { class: "small muted" }, kind.monotone ? "Fewer bits never cost more here; tested for any layer." : `Fewer bits may cost more: ${kind.exceptions}`),
  ];
}

export function targetFacts(target) {
  const supports = target.supports;
  return facts([
    ["Latency stands for", target.batch === 1 ? "one image" : `a batch of ${target.batch}`], ["Clock", target.clock_hz ? `${digits(target.clock_hz / 1e6)} MHz` : null],
    ["Runs", supportWords(supports)], ["Memories", supports.memories?.length ? supports.memories.map((memory) => h("div", {}, memoryWords(memory))) : null],
    ["Granularity", supports.granularity.join(", ")], ["Zero point", supports.zero_point ? "any" : "must be 0"], ["Scale", supports.scale], ["Accumulator", `${supports.accumulator_bits} bits`],
  ]);
}

export function measuredFacts(measured) {
  if (!measured) return null;
  return facts([
    ["Device", measured.device], ["Date", measured.date], ["Versions", Object.entries(measured.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", ")],
    ["Runs", `${measured.repetitions} after ${measured.warm_up} to warm up`], ["Threads", measured.threads ? String(measured.threads) : null],
    ["Energy", measured.energy_from || "not measured: this device has no counter that could be read"], ["Notes", measured.notes],
  ]);
}
