// The recipe: a few fields that everyone sets, and the rest folded by what it is about. All of them from the schema.
import { h } from "../dom.js";

const BASIC = ["epochs", "learning_rate", "batch_size", "augmentation", "distillation"];
const FOLDED = [
  ["Schedule", "how the learning rate moves", ["schedule", "warmup_epochs", "milestones", "step_factor"]],
  ["Optimiser", "momentum, decay, rates of what quantizers learn", ["optimiser", "momentum", "weight_decay", "quantizer_rate", "quantizer_weight_decay", "gradient_clip"]],
  ["Fewer bits step by step", "widths on the way down, block after block", ["progressive_bits", "block_order"]],
  ["Distillation", "how much the float network teaches", ["distillation_share", "temperature"]],
  ["Batch norm, precision, patience", "what happens after and around the steps", ["batch_norm", "batch_norm_batches", "precision", "patience"]],
];
const LABELS = { warmup_epochs: "Warm-up epochs", milestones: "Steps at", quantizer_rate: "Rate of quantizers", quantizer_weight_decay: "Decay of quantizers", progressive_bits: "Progressive bits", batch_norm: "Batch norms", batch_norm_batches: "Batches for batch norms" };

export function trainingFields(fields, opened) {
  const known = fields.schema.part(fields.schema.root.properties.training).properties;
  const one = (name) => fields.field(`training.${name}`, { label: LABELS[name] });
  const placed = new Set([...BASIC, ...FOLDED.flatMap(([, , names]) => names)]);
  const others = Object.keys(known).filter((name) => !placed.has(name));
  const groups = others.length ? [...FOLDED, ["Further", "", others]] : FOLDED;
  return [
    BASIC.filter((name) => name in known).map(one),
    groups.map(([title, note, names]) => h("details", { class: "wide sub", data: { group: title }, open: opened.has(title) }, h("summary", {}, h("strong", {}, title), note ? ` · ${note}` : ""), h("div", { class: "fields" }, names.filter((name) => name in known).map(one)))),
  ];
}
