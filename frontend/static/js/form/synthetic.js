// Images for a job without data: where they come from, how many, and whether this network can give them.
import { h } from "../dom.js";

const NAMES = ["source", "images", "held_out", "iterations", "seed"];
const LABELS = { source: "Where images come from", images: "Images for ranges and training", held_out: "Images to choose by, and to report on", iterations: "Steps", seed: "Seed of the images" };

export function syntheticFields(fields, catalogue) {
  const card = catalogue.synthetic_sources.find((one) => one.id === fields.values.synthetic.source);
  return h("div", { class: "fields wide synthetic" },
    h("p", { class: "why wide" }, "Images are made from the network itself. Labels are what the float network says of them: figures are agreement with it, not accuracy."),
    NAMES.map((name) => fields.field(`synthetic.${name}`, { label: LABELS[name] })),
    card ? h("p", { class: "why wide" }, card.summary) : null);
}

// What stands against it, told before the job is sent.
export function syntheticProblem(values, model, catalogue) {
  const card = catalogue.synthetic_sources.find((one) => one.id === values.synthetic.source);
  if (!model?.inventory || !card?.needs_batch_norm || model.inventory.batch_norms > 0) return null;
  return "This network has no batch norm whose statistics could tell what its data looked like. Upload at least 32 unlabelled images of the kind it will see, or choose range-matched noise.";
}
