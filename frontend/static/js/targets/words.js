// A target in words: what it runs, what its memories hold, the unit of a figure, how well it was fitted.
import { chip, h } from "../dom.js";
import { digits, isNumber, quantity } from "../format.js";
import { widthWords } from "../methods/card.js";

const HOLDS = { "network-weights": "all weights of a network", "layer-weights": "the weights of each layer", "layer-activations": "each layer's input and output" };

// Units stand at the end of a figure's name.
const UNITS = [
  ["_j_per_cycle", "J/cycle"], ["_j_per_bit", "J/bit"], ["_j_per_byte", "J/byte"], ["_j_per_mac", "J/MAC"], ["_bits_per_cycle", "bits/cycle"], ["_bytes_per_cycle", "bytes/cycle"], ["_bytes_per_s", "bytes/s"],
  ["_bits_per_s", "bits/s"], ["_macs_per_s", "MAC/s"], ["_macs_per_cycle", "MAC/cycle"], ["_per_s", "1/s"], ["_hz", "Hz"], ["_cycles", "cycles"], ["_bytes", "bytes"],
  ["_bits", "bits"], ["_rows", "rows"], ["_units", "units"], ["_channels", "channels"], ["_j", "J"], ["_w", "W"], ["_s", "s"], ["_v", "V"],
];

export function unitOf(name) {
  const rate = /_([a-z]+)_per_([a-z]+)$/.exec(name);
  return UNITS.find(([end]) => name.endsWith(end))?.[1] ?? (rate ? `${rate[1]}/${rate[2]}` : "");
}

export function supportWords(supports) {
  if (supports.pairs?.length) return supports.pairs.map(([weights, activations]) => `${weights}/${activations}`).join(", ");
  return `weights ${widthWords(supports.weight_bits)}, activations ${widthWords(supports.activation_bits)} bits`;
}

export function memoryWords(memory) {
  return `${memory.name}: ${quantity("size", memory.size_bytes)} for ${HOLDS[memory.holds] ?? memory.holds}`;
}

export const provenanceWords = (provenance) => (provenance === "table" ? "from a table" : provenance);

export function provenanceChip(target) {
  return chip(target.provenance, `provenance ${target.provenance}`);
}

// The worst of the rows that were fitted, and of those kept apart.
export function fitWords(fit) {
  if (!fit) return null;
  const worst = (rows) => Math.max(...rows.map((row) => Math.abs(row.predicted / row.given - 1)));
  const [apart, fitted] = [fit.rows.filter((row) => row.kept_apart), fit.rows.filter((row) => !row.kept_apart)];
  const parts = [fitted.length ? `within ${share(worst(fitted))} of ${fitted.length} fitted figures` : null, apart.length ? `${share(worst(apart))} of ${apart.length} kept apart` : null];
  return `${fit.parameters.length} ${fit.parameters.length === 1 ? "parameter" : "parameters"}, ${parts.filter(Boolean).join(", ") || "no rows given"}`;
}

export const share = (value) => (value < 1e-4 ? "less than 0.01 %" : `${digits(100 * value, 2)} %`);

export function residual(row) {
  const value = row.predicted / row.given - 1;
  const shown = 100 * Math.abs(value);
  return `${shown < 0.005 ? "" : value < 0 ? "−" : "+"}${shown < 10 ? shown.toFixed(2) : digits(shown, 3)} %`;
}

export const figureOf = (row, value) => quantity(row.quantity === "energy_j" ? "energy" : "latency", value);

// A parameter's value for people: numbers with few digits, lists in a line, records as a small table.
export function valueOf(value) {
  if (isNumber(value)) return isWhole(value) ? Math.round(value).toLocaleString("en") : digits(value, 4);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value) && value.length && value.every((one) => one && typeof one === "object" && !Array.isArray(one))) return records(value);
  if (Array.isArray(value)) return value.map((one) => (typeof one === "object" ? JSON.stringify(one) : String(one))).join(", ");
  if (value && typeof value === "object") return Object.entries(value).map(([name, one]) => h("div", {}, h("code", {}, name), " ", valueOf(one)));
  return value === null || value === undefined ? "–" : String(value);
}

// A fit leaves whole numbers a little beside themselves.
const isWhole = (value) => Math.abs(value) < 1e10 && Math.abs(value - Math.round(value)) <= 1e-9 * Math.abs(value);

function records(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const table = h("table", { class: "tight" }, h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows.map((row) => h("tr", {}, names.map((name) => h("td", {}, name in row ? valueOf(row[name]) : "–"))))));
  return rows.length > 8 ? h("details", {}, h("summary", {}, `${rows.length} rows`), h("div", { class: "scroll" }, table)) : h("div", { class: "scroll" }, table);
}
