// The hardware Bitfront knows, each with provenance and source.
import "../start.js";
import { get } from "../api.js";
import { byId, chip, facts, fill, h } from "../dom.js";
import { digits } from "../format.js";
import { guarded } from "../notices.js";

function support(supports) {
  if (supports.pairs?.length) return supports.pairs.map(([weights, activations]) => `W${weights}A${activations}`).join(", ");
  return `weights ${range(supports.weight_bits)}, activations ${range(supports.activation_bits)} bits`;
}

const range = (bits) => (bits?.length ? `${Math.min(...bits)} to ${Math.max(...bits)}` : "any");

function card(target) {
  return h("article", { class: "panel", id: target.id },
    h("div", { class: "card-head" }, h("h2", {}, target.name), h("code", {}, target.id), chip(target.provenance)),
    h("p", {}, target.description),
    facts([
      ["Latency stands for", `a batch of ${target.batch}`], ["Clock", `${digits(target.clock_hz / 1e6)} MHz`], ["Runs", support(target.supports)],
      ["Granularity", target.supports.granularity.join(", ")], ["Scale", target.supports.scale], ["Accumulator", `${target.supports.accumulator_bits} bits`], ["Source", target.source],
    ]),
    h("details", {}, h("summary", {}, "Parameters"), h("pre", {}, JSON.stringify(target.parameters, null, 2))));
}

await guarded(async () => {
  const answer = await get("/targets");
  fill(byId("list"), h("div", { class: "cards" }, (answer.items ?? answer).map(card)));
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}, byId("list"));
