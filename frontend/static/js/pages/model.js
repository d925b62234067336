// One network: what it is, and its layers.
import "../start.js";
import { get } from "../api.js";
import { byId, facts, fill, h, stateChip } from "../dom.js";
import { moment, quantity, shape } from "../format.js";
import { repeat } from "../live.js";
import { Comparison, Costs } from "../model/costs.js";
import { Measuring } from "../model/measuring.js";
import { guarded, problemNotice } from "../notices.js";
import { Table } from "../table.js";

const address = `/models/${encodeURIComponent(document.body.dataset.id)}`;

const COLUMNS = [
  { title: "#", number: true, cell: (layer) => String(layer.index + 1), key: (layer) => layer.index, raw: (layer) => layer.index + 1, csv: "position" },
  { title: "Layer", heading: true, class: "name", cell: (layer) => layer.name, key: (layer) => layer.name, raw: (layer) => layer.name, csv: "name" },
  { title: "Kind", cell: (layer) => kindOf(layer), key: (layer) => kindOf(layer), raw: (layer) => layer.kind, csv: "kind" },
  { title: "Input", cell: (layer) => shape(layer.input_shape), raw: (layer) => layer.input_shape.join("x"), csv: "input_shape" },
  { title: "Weight", cell: (layer) => shape(layer.weight_shape), raw: (layer) => layer.weight_shape.join("x"), csv: "weight_shape" },
  { title: "Output", cell: (layer) => shape(layer.output_shape), raw: (layer) => layer.output_shape.join("x"), csv: "output_shape" },
  { title: "Groups", number: true, cell: (layer) => String(layer.groups), key: (layer) => layer.groups, raw: (layer) => layer.groups, csv: "groups" },
  { title: "Parameters", number: true, cell: (layer) => quantity("count", layer.parameters), key: (layer) => layer.parameters, raw: (layer) => layer.parameters, csv: "parameters" },
  { title: "MACs", number: true, cell: (layer) => quantity("count", layer.macs), key: (layer) => layer.macs, raw: (layer) => layer.macs, csv: "macs" },
  { title: "Reads", cell: (layer) => [h("code", {}, layer.reads), layer.reads_signed ? " signed" : " unsigned"], key: (layer) => layer.reads, raw: (layer) => layer.reads, csv: "reads" },
  { title: "Shares bits with", cell: (layer) => layer.tied_with.join(", ") || "–", raw: (layer) => layer.tied_with.join(" "), csv: "tied_with" },
];

function kindOf(layer) {
  return layer.groups > 1 && layer.groups === layer.input_shape[0] ? `${layer.kind}, depthwise` : layer.kind;
}

function show(model) {
  document.title = `${model.name} · Bitfront`;
  const inventory = model.inventory;
  const table = h("div", { class: "scroll" });
  const grid = inventory ? new Table(table, COLUMNS, { caption: `Layers of ${model.name}` }) : null;
  fill(byId("thing"),
    h("div", { class: "heading" }, h("h1", {}, model.name), stateChip(model.state), model.state === "ready" ? h("a", { class: "button primary", href: `/ui/jobs/new?model=${model.id}` }, "Quantize it") : null),
    model.problem ? problemNotice(model.problem) : null,
    h("section", { class: "panel" }, facts([
      ["File", `${model.filename}, ${quantity("size", model.size_bytes)}`], ["Source", inventory?.source ?? [model.kind, model.architecture].filter(Boolean).join(", ")],
      ["Input", inventory ? `${shape(inventory.input_shape)} (${inventory.input_layout})` : null], ["Classes", inventory ? String(inventory.classes) : null],
      ["Parameters", inventory ? quantity("count", inventory.total_parameters) : null], ["MACs for one image", inventory ? quantity("count", inventory.total_macs) : null],
      ["Preprocessing", model.preprocessing ? h("code", {}, JSON.stringify(model.preprocessing)) : "none given: pixels / 255"],
      ["Warnings", inventory?.warnings?.join("; ")], ["SHA-256", h("code", {}, model.sha256)], ["Added", moment(model.created_at)],
    ])),
    inventory ? h("section", { class: "panel" }, h("header", { class: "panel-head" }, h("h2", {}, `${inventory.layers.length} quantizable layers`), h("button", { type: "button", class: "quiet small", "aria-label": "layers as a table (CSV)", onclick: () => grid.save(`bitfront-layers-${model.name}.csv`) }, "CSV")), table) : h("p", { class: "muted" }, model.state === "inspecting" ? "The file is being read in a process of its own." : ""));
  if (inventory) costs(model);
  grid?.show(inventory.layers.map((layer, index) => ({ ...layer, index })));
}

// Under the layers: what they cost.
async function costs(model) {
  const places = ["costs", "comparison", "measuring"].map((id) => h("section", { class: "panel stack", id }));
  byId("thing").append(...places);
  const draw = async () => {
    const { items } = await get("/targets");
    new Costs(places[0], model, items);
    new Comparison(places[1], model, items);
  };
  await guarded(draw, places[0]);
  new Measuring(places[2], model, draw);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

await guarded(async () => {
  const model = await get(address);
  show(model);
  if (model.state === "inspecting") repeat(async () => { const now = await get(address); if (now.state !== "inspecting") show(now); return now.state === "inspecting"; }, 1000);
}, byId("thing"));
