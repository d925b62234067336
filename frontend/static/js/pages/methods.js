// What a job can be built from; every card links to its paper and says what was reconstructed.
import "../start.js";
import { get } from "../api.js";
import { byId, facts, fill, h } from "../dom.js";
import { guarded } from "../notices.js";

const GROUPS = [["methods", "Quantizers"], ["observers", "Calibration"], ["sensitivity_metrics", "Sensitivity"], ["strategies", "Search"], ["architectures", "Architectures"]];
const SHOWN = new Set(["id", "title", "paper", "link", "reconstruction_notes", "description", "summary", "reconstruction", "settings_schema"]);

function card(group, one) {
  const rest = Object.entries(one).filter(([name, value]) => !SHOWN.has(name) && value !== null && value !== "" && !(Array.isArray(value) && !value.length));
  return h("article", { class: "panel", id: `${group}-${one.id}` },
    h("div", { class: "card-head" }, h("h3", {}, one.title ?? one.id), h("code", {}, one.id)),
    one.description ?? one.summary ? h("p", {}, one.description ?? one.summary) : null,
    one.paper ? h("p", { class: "small" }, paper(one)) : null,
    one.reconstruction_notes?.length ? h("div", { class: one.reconstruction ? "notice warn" : "notice" }, h("strong", {}, one.reconstruction ? "Reconstruction" : "Where it differs from the paper"), h("p", { class: "small" }, [one.reconstruction_notes].flat().join(" "))) : null,
    facts(rest.map(([name, value]) => [name.replaceAll("_", " "), words(value)])));
}

function paper(one) {
  const address = one.link ?? (/^https?:/.test(one.paper) ? one.paper : null);
  return address ? h("a", { href: address, rel: "noreferrer noopener", target: "_blank" }, one.paper) : one.paper;
}

function words(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value) && value.every((one) => typeof one !== "object")) return value.join(", ");
  if (typeof value === "object") return Object.keys(value).length ? h("details", {}, h("summary", {}, "Show"), h("pre", {}, JSON.stringify(value, null, 2))) : "none";
  return String(value);
}

await guarded(async () => {
  const catalogue = await get("/methods");
  fill(byId("list"), GROUPS.filter(([key]) => catalogue[key]?.length).map(([key, title]) => [h("h2", {}, title), h("div", { class: "cards" }, catalogue[key].map((one) => card(key, one)))]));
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}, byId("list"));
