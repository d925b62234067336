// One target: what it is, what it runs, where each of its figures comes from, how well it was fitted.
import "../start.js";
import { all, get } from "../api.js";
import { byId, chip, fill, h } from "../dom.js";
import { digits, moment } from "../format.js";
import { guarded } from "../notices.js";
import { FitForm } from "../targets/fit_form.js";
import { fitPanel, kindPart, measuredFacts, parameterTable, targetFacts } from "../targets/parts.js";
import { provenanceChip } from "../targets/words.js";

const id = document.body.dataset.id;
const address = `/targets/${encodeURIComponent(id)}`;

function show(target, kind, follows, models) {
  document.title = `${target.name} · Bitfront`;
  const change = target.own ? h("a", { class: "button primary", href: `/ui${address}/edit` }, "Change it") : h("a", { class: "button primary", href: `/ui/targets/new?from=${encodeURIComponent(id)}` }, "Use as a start for your own");
  const fit = h("section", { class: "panel", "aria-label": "Fit to measurements" });
  fill(byId("thing"), h("div", { class: "stack" },
    h("div", { class: "heading" }, h("h1", {}, target.name), h("code", {}, target.id), provenanceChip(target), target.own ? chip("own") : null, change, h("a", { class: "button", href: `${address}/toml`, download: `${id}.toml` }, "TOML")),
    h("p", {}, target.description),
    h("div", { class: "two-panels" },
      h("section", { class: "panel stack", "aria-label": "What it runs" }, h("h2", {}, "What it runs"), targetFacts(target), follows.length ? [h("h3", {}, "What follows from its parameters"), followsTable(follows)] : null),
      h("section", { class: "panel stack", "aria-label": "Where its figures come from" }, h("h2", {}, "Where its figures come from"), h("p", {}, target.source), measuredFacts(target.measured), target.updated_at ? h("p", { class: "small muted" }, "Changed ", moment(target.updated_at)) : null)),
    h("section", { class: "panel", "aria-label": "Parameters" }, h("header", { class: "panel-head" }, h("h2", {}, "Parameters")), parameterTable(target, kind)),
    target.fit ? h("section", { class: "panel", "aria-label": "Fit" }, fitPanel(target.fit, target.id)) : null,
    kind ? h("section", { class: "panel stack", "aria-label": "How its kind counts" }, h("h2", {}, "How its kind counts"), kindPart(kind)) : null,
    kind?.free_parameters?.length ? fit : null,
    models.length ? h("section", { class: "panel", "aria-label": "Networks on it" }, h("h2", {}, "A network on it"), h("p", {}, models.map((model) => [h("a", { href: `/ui/models/${model.id}?target=${encodeURIComponent(id)}#costs` }, model.name), " "]))) : null));
  if (kind?.free_parameters?.length) new FitForm(fit, { target, kind, models });
}

function followsTable(follows) {
  return h("table", { class: "told" }, h("tbody", {}, follows.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name), h("td", { class: "number" }, digits(one.value, 4), " ", one.unit), h("td", { class: "muted" }, one.source)))));
}

await guarded(async () => {
  const [target, catalogue, follows, models] = await Promise.all([get(address), get("/methods"), get(`${address}/facts`), all("/models")]);
  show(target, (catalogue.hardware_kinds ?? []).find((kind) => kind.id === target.kind), follows.items, models.filter((model) => model.state === "ready"));
}, byId("thing"));
