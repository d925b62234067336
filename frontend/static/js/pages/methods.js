// What a job can be built from. Methods as a table to sort and to filter, and each in full; then everything else.
import "../start.js";
import { get } from "../api.js";
import { byId, facts, fill, h } from "../dom.js";
import { MethodTable } from "../methods/table.js";
import { badge, methodFacts, notes, paperLink, settingsList } from "../methods/card.js";
import { guarded } from "../notices.js";

const GROUPS = [["observers", "Calibration"], ["preparations", "Before calibration"], ["roundings", "Rounding"], ["bias_corrections", "Bias correction"], ["synthetic_sources", "Images without data"], ["sensitivity_metrics", "Sensitivity"], ["strategies", "Search"], ["architectures", "Architectures"]];
const SHOWN = new Set(["id", "title", "paper", "link", "reconstruction_notes", "description", "summary", "reconstruction", "settings_schema"]);

function card(group, one) {
  return h("article", { class: "panel", id: `${group}-${one.id}` },
    h("div", { class: "card-head" }, h("h3", {}, one.title ?? one.id), h("code", {}, one.id), badge(one)),
    one.description ?? one.summary ? h("p", {}, one.description ?? one.summary) : null,
    one.paper ? h("p", { class: "small" }, paperLink(one)) : null,
    notes(one),
    group === "methods" ? [methodFacts(one), settingsList(one)] : otherFacts(one));
}

function otherFacts(one) {
  const rest = Object.entries(one).filter(([name, value]) => !SHOWN.has(name) && value !== null && value !== "" && !(Array.isArray(value) && !value.length));
  return facts(rest.map(([name, value]) => [name.replaceAll("_", " "), words(value)]));
}

function words(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value) && value.every((one) => typeof one !== "object")) return value.join(", ");
  if (typeof value === "object") return Object.keys(value).length ? h("details", {}, h("summary", {}, "Show"), h("pre", {}, JSON.stringify(value, null, 2))) : "none";
  return String(value);
}

const cards = (catalogue, key) => h("div", { class: "cards" }, catalogue[key].map((one) => card(key, one)));

await guarded(async () => {
  const catalogue = await get("/methods");
  const table = h("section", { class: "panel", "aria-label": "Methods compared" });
  const methods = catalogue.methods?.length ? [h("h2", {}, "Quantizers"), table, cards(catalogue, "methods")] : null;
  fill(byId("list"), methods, GROUPS.filter(([key]) => catalogue[key]?.length).map(([key, title]) => [h("h2", {}, title), cards(catalogue, key)]));
  if (methods) new MethodTable(table, catalogue.methods);
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}, byId("list"));
