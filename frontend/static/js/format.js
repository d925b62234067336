// Numbers as people read them: SI units, three digits, MB = 10^6 bytes; dates relative, exact on hover.
import { h } from "./dom.js";

const UNITS = {
  latency: [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]],
  energy: [[1, "J"], [1e-3, "mJ"], [1e-6, "µJ"], [1e-9, "nJ"]],
  size: [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]],
  "bit-operations": [[1e12, "TBOP"], [1e9, "GBOP"], [1e6, "MBOP"], [1e3, "kBOP"], [1, "BOP"]],
  count: [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]],
};

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export function digits(value, significant = 3) {
  if (!isNumber(value)) return "–";
  if (value === 0) return "0";
  const magnitude = Math.abs(value);
  if (magnitude >= 1e5 || magnitude < 1e-3) return value.toExponential(Math.max(0, significant - 1)).replace(/e([+-]\d+)/, (_, power) => ` × 10${raised(power)}`);
  return value.toFixed(Math.max(0, significant - 1 - Math.floor(Math.log10(magnitude))));
}

const raised = (power) => String(Number(power)).replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);

export function quantity(kind, value) {
  if (!isNumber(value)) return "–";
  const units = UNITS[kind];
  const [size, name] = units.find(([one]) => Math.abs(value) >= one) ?? units.at(-1);
  const text = name === "B" || (name === "" && kind === "count") ? String(Math.round(value)) : digits(value / size);
  return name ? `${text} ${name}` : text;
}

export const percent = (value, places = 2) => (isNumber(value) ? `${(100 * value).toFixed(places)} %` : "–");

export function points(difference) {
  if (!isNumber(difference)) return "–";
  const shown = (100 * difference).toFixed(2);
  return `${difference > 0 ? "+" : ""}${shown.replace("-", "−")} points`;
}

export function signed(text) {
  return text.startsWith("-") ? `−${text.slice(1)}` : text.startsWith("0") && Number.parseFloat(text) === 0 ? text : `+${text}`;
}

export function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [2592000, "day", 86400], [31536000, "month", 2592000], [Infinity, "year", 31536000]];

export function relative(iso, now = Date.now()) {
  const seconds = (new Date(iso).getTime() - now) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  const [, name, size] = STEPS.find(([limit]) => Math.abs(seconds) < limit);
  return RELATIVE.format(Math.trunc(seconds / size), name);
}

export function moment(iso) {
  if (!iso) return "–";
  return h("time", { datetime: iso, title: new Date(iso).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "long" }) }, relative(iso));
}

// Keeps "2 minutes ago" true while the page stays open.
export function keepTimesFresh() {
  setInterval(() => {
    for (const element of document.querySelectorAll("time[datetime][title]")) element.textContent = relative(element.dateTime);
  }, 30_000);
}

export const shape = (sizes) => (sizes ?? []).join(" × ");
