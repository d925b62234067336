// What may stand in the text: the parameters of a kind, and what every target has, each with unit and description.
import { h } from "../dom.js";
import { kindPart } from "./parts.js";
import { unitOf } from "./words.js";

// [key, what it is]; what every target has. The service checks it, these are the words beside it.
const EVERY = [
  ["id", "lower-case letters, digits, . _ -; the name in jobs and addresses"], ["name", "for people"], ["kind", "of the list above"], ["description", "one or two sentences"],
  ["provenance", "simulated, table or measured"], ["source", "where the figures come from; what is fitted or reconstructed"], ["batch", "images per pass that a latency stands for"],
  ["clock_hz", "cycles per second; left out where cycles mean nothing"],
  ["[supports]", "weight_bits, activation_bits, pairs, granularity, zero_point, scale, accumulator_bits"],
  ["[[supports.memories]]", "name, holds (network-weights, layer-weights or layer-activations), size_bytes"],
  ["[parameters]", "those of the kind, below"], ["[parameters.sources]", "for each parameter, where it comes from"],
];

export function schemaPanel(kinds, kind) {
  return [
    h("h2", {}, "What may stand here"),
    kind ? h("div", {}, h("h3", {}, `Parameters of ${kind.id}`), parameters(kind)) : h("p", { class: "muted" }, `Write kind = "…" with one of ${kinds.map((one) => one.id).join(", ")}: its parameters appear here.`),
    h("details", { open: !kind }, h("summary", {}, "Every target"), h("dl", { class: "keys" }, EVERY.map(([name, words]) => [h("dt", {}, h("code", {}, name)), h("dd", {}, words)]))),
    kind ? h("details", {}, h("summary", {}, "Formula and notes"), kindPart(kind)) : null,
  ];
}

function parameters(kind) {
  const { properties = {}, required = [] } = kind.parameters_schema;
  return h("dl", { class: "keys" }, Object.entries(properties).filter(([name]) => name !== "sources").map(([name, schema]) => [
    h("dt", {}, h("code", {}, name), unitOf(name) ? h("span", { class: "muted" }, ` ${unitOf(name)}`) : null, required.includes(name) ? null : h("span", { class: "muted" }, " optional")),
    h("dd", {}, [schema.description, range(resolved(schema, kind.parameters_schema)), kind.free_parameters?.includes(name) ? "can be fitted" : null].filter(Boolean).join("; "))]));
}

function resolved(schema, root) {
  const inner = schema.anyOf?.find((one) => one.type !== "null") ?? schema;
  return inner.$ref ? root.$defs[inner.$ref.split("/").at(-1)] : inner;
}

function range(schema) {
  if (schema.enum) return `one of ${schema.enum.join(", ")}`;
  if (schema.type !== "integer" && schema.type !== "number") return schema.type === "array" ? "a list" : "";
  const low = schema.minimum !== undefined ? `at least ${schema.minimum}` : schema.exclusiveMinimum !== undefined ? `more than ${schema.exclusiveMinimum}` : "";
  const high = schema.maximum !== undefined ? `at most ${schema.maximum}` : schema.exclusiveMaximum !== undefined ? `less than ${schema.exclusiveMaximum}` : "";
  return [schema.type === "integer" ? "whole" : "", low, high].filter(Boolean).join(", ");
}
