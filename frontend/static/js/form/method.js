// Choosing a method: its card beside the choice, its own settings as fields, and what follows from it for the rest.
import { h } from "../dom.js";
import { badge, methodFacts, notes, paperLink, widthWords } from "../methods/card.js";
import { select } from "./fields.js";
import { jointWidths } from "./joint.js";
import { Schema } from "./schema.js";

const FINEST = "finest"; // what a job has that leaves it to the method
const GRANULARITIES = { channel: "per channel", tensor: "per tensor" };
const ADJUSTMENT = [["", "as the method does"], ["true", "yes"], ["false", "no"]];

export const cardOf = (catalogue, values) => catalogue.methods.find((card) => card.id === values.quantizer.method);

// What another method cannot keep is changed to what it has: settings, granularity, widths. Answers what was changed.
export function fitToMethod(values, card) {
  values.quantizer.settings = {};
  const told = [];
  const offered = offeredBy(card);
  if (![FINEST, ...offered].includes(values.quantizer.granularity)) {
    values.quantizer.granularity = FINEST;
    told.push(`granularity ${GRANULARITIES[finest(card)]}`);
  }
  const joint = jointWidths(card, values.quantizer.settings);
  const both = { weights: joint ?? card.weight_bits, activations: joint ?? card.activation_bits };
  for (const [side, has] of Object.entries(both)) {
    if (!has || values.bits[side].every((bits) => has.includes(bits))) continue;
    const kept = values.bits[side].filter((bits) => has.includes(bits));
    values.bits[side] = kept.length ? kept : [...has];
    told.push(`${side} at ${widthWords(values.bits[side])} bits`);
  }
  if (values.quantizer.first_last === "8/8" && Object.values(both).some((has) => has && !has.includes(8))) {
    values.quantizer.first_last = "float";
    told.push("first and last layer float");
  }
  return told;
}

const offeredBy = (card) => Object.keys(GRANULARITIES).filter((one) => !card?.granularities || card.granularities.includes(one));
const finest = (card) => offeredBy(card)[0];

export function methodFields(fields, values, catalogue, changed, told = []) {
  const card = cardOf(catalogue, values);
  return [
    h("div", { class: "field wide method" }, fields.field("quantizer.method"),
      h("p", { class: "small warn", role: "status" }, told.length ? `Changed to what this method has: ${told.join("; ")}.` : ""), card ? about(card) : null),
    settingFields(fields, card),
    fields.field("quantizer.granularity", { element: granularity(values, card, changed) }),
    fields.field("quantizer.first_last", { label: "First and last layer", why: card?.first_last ? `In the paper: ${card.first_last}.` : undefined }),
    fields.field("quantizer.residual_bits", { label: "Bits of additions" }),
    fields.field("quantizer.insert_normalisation", { label: "Insert batch norms", why: "Behind layers that came without one, as methods need that leave the scale of the weights. They change nothing until training does." }),
    fields.field("quantizer.scale_adjustment", { label: "Adjust scales", why: "SAT's rescaling of layers without a batch norm behind them.", element: adjustment(values, changed) }),
  ];
}

function about(card) {
  return h("div", { class: "about", data: { method: card.id } },
    h("div", { class: "card-head" }, h("strong", {}, card.title), badge(card)),
    card.summary ? h("p", {}, card.summary) : null,
    card.paper ? h("p", { class: "small" }, paperLink(card)) : null,
    notes(card),
    methodFacts(card));
}

// What a card lets one set, as fields under `path`.
export function settingFields(fields, card, path = "quantizer.settings") {
  const schema = new Schema(card?.settings_schema ?? {});
  const names = Object.keys(schema.root.properties ?? {});
  if (!names.length) return null;
  const each = names.map((name) => fields.field(`${path}.${name}`, { schema: { ...schema.part(schema.root.properties[name]), nullable: schema.nullable(schema.root.properties[name]), placeholder: "automatic" } }));
  return h("fieldset", { class: "wide settings" }, h("legend", {}, `Settings of ${card.title}`), h("div", { class: "fields" }, each));
}

function granularity(values, card, changed) {
  const put = (value) => { values.quantizer.granularity = value; changed("quantizer.granularity"); };
  const words = offeredBy(card).map((one) => [one, GRANULARITIES[one]]);
  const choices = words.length === 1 ? [[FINEST, words[0][1]]] : [[FINEST, `the finest: ${words[0][1]}`], ...words];
  return select(choices, values.quantizer.granularity, put);
}

function adjustment(values, changed) {
  const shown = values.quantizer.scale_adjustment;
  const put = (text) => { values.quantizer.scale_adjustment = text === "" ? null : text === "true"; changed("quantizer.scale_adjustment"); };
  return select(ADJUSTMENT, shown === null || shown === undefined ? "" : String(shown), put);
}
