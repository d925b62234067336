// What was done to a point without training it: its treatment, or the list that the preset tried; layer by layer on demand.
import { facts, h } from "../dom.js";
import { digits, duration, isNumber, percent } from "../format.js";

export function postTrainingWords(candidate) {
  const record = candidate.post_training;
  if (!record) return null;
  const kept = record.tried?.find((one) => same(one.treatment, record.kept));
  return h("details", { class: "post-training" }, h("summary", {}, `Without training: ${kept ? treatmentWords(record.kept) : doneWords(record)}`),
    record.tried ? triedTable(record) : null, unitsTable((kept?.report ?? record).rounding));
}

const same = (one, other) => ["observer", "rounding", "bias_correction"].every((name) => one[name] === other[name]);

const correctionWords = (kind) => (kind === "none" ? null : `${kind} bias correction`);

const treatmentWords = (one) => [`${one.observer} ranges`, `${one.rounding} rounding`, correctionWords(one.bias_correction)].filter(Boolean).join(", ");

const doneWords = (record) => [`${record.rounding.rounding} rounding`, correctionWords(record.bias_correction), duration(record.seconds)].filter(Boolean).join(", ");

function triedTable(record) {
  return [h("p", { class: "small" }, `Tried within ${digits(record.budget_s)} s. Kept is the least divergence from the float network on select, KL in nats.`),
    h("div", { class: "scroll" }, h("table", { class: "told" }, h("caption", { class: "visually-hidden" }, "Treatments that were tried"),
      heads("Treatment", "Divergence", "Agreement", "Seconds"),
      h("tbody", {}, record.tried.map((one) => h("tr", { class: same(one.treatment, record.kept) ? "picked" : null }, h("th", { scope: "row" }, treatmentWords(one.treatment)),
        isNumber(one.divergence) ? [number(digits(one.divergence)), number(percent(one.agreement)), number(digits(one.seconds))] : h("td", { colspan: 3, class: "muted" }, `Not tried: ${one.why_not}.`))))))];
}

function unitsTable(rounding) {
  if (!rounding?.units?.length) return null;
  return [facts([["Images", `${rounding.images}${rounding.held_back ? `, ${rounding.held_back} of them held back to judge` : ""}`], ["Resumed", rounding.resumed_from_unit ? `from unit ${rounding.resumed_from_unit}` : null]]),
    h("div", { class: "scroll" }, h("table", { class: "told" }, h("caption", { class: "visually-hidden" }, "Rounding by layer or block"),
      heads("Layers", "Error at nearest levels", "Error as rounded", "Weights moved"),
      h("tbody", {}, rounding.units.map((unit) => h("tr", {}, h("th", { scope: "row" }, unit.layers.join(", "), unit.why ? h("p", { class: "why" }, unit.why) : null),
        number(digits(unit.error_nearest)), number(digits(unit.error_rounded)), number(percent(unit.moved)))))))];
}

const number = (text) => h("td", { class: "number" }, text);

const heads = (...words) => h("thead", {}, h("tr", {}, words.map((word) => h("th", { scope: "col" }, word))));
