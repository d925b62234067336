// One field of the form from its schema: the input, one line of explanation, a link to its method, a place for errors.
import { bitCell, freshId, h } from "../dom.js";
import { read, write } from "./schema.js";

// Fields whose values are cards of the catalogue.
export const CATALOGUED = { "quantizer.method": "methods", "calibration.observer": "observers", "post_training.rounding": "roundings", "synthetic.source": "synthetic_sources", "sensitivity.metric": "sensitivity_metrics", "search.strategy": "strategies" };

// Widths that one passes from many to few.
const FALLING = new Set(["training.progressive_bits"]);

// A setting that is left to the method, or to the strategy, is left out.
const SETTINGS = ["quantizer.settings.", "search.settings."];

// Words for values that the schema can only spell.
const WORDS = { "first_last.8/8": "8 bits", "first_last.float": "float", "first_last.searched": "searched like the others" };

export class Fields {
  constructor(schema, values, context, onChange) {
    Object.assign(this, { schema, values, context, onChange });
    this.places = new Map();
  }

  field(path, { label, why, wide = false, element = null, schema = this.described(path) } = {}) {
    const id = freshId("field");
    const control = element ?? this.control(path, schema, id);
    const error = h("p", { class: "error", id: `${id}-error`, role: "alert", hidden: true });
    const words = h("p", { class: "why", id: `${id}-why` }, why ?? schema.description ?? "", " ", this.link(path));
    const labelled = control.matches?.("input, select, textarea");
    const title = h(labelled ? "label" : "span", labelled ? { for: id, class: "label" } : { class: "label", id: `${id}-label` }, label ?? titled(path));
    if (labelled) control.dataset.key = path;
    if (labelled) Object.assign(control, { id }).setAttribute("aria-describedby", `${id}-why ${id}-error`);
    else control.setAttribute?.("aria-labelledby", `${id}-label`);
    const root = h("div", { class: `field${wide ? " wide" : ""}`, data: { path } }, title, control, words, error);
    this.places.set(path, { root, control, error });
    return root;
  }

  described(path) {
    const found = this.schema.at(path);
    return { ...this.schema.part(found), nullable: this.schema.nullable(this.schema.resolve(found)) };
  }

  control(path, schema, id) {
    const value = read(this.values, path) ?? (schema.nullable ? undefined : schema.default);
    const put = (next) => { write(this.values, path, SETTINGS.some((one) => path.startsWith(one)) ? next ?? undefined : next); this.clear(path); this.onChange(path); };
    if (path in CATALOGUED) return select(this.context.catalogue[CATALOGUED[path]].map((card) => [card.id, card.title ?? card.id]), value, put);
    if (schema.enum) return select(schema.enum.map((one) => [one, WORDS[`${path.split(".").at(-1)}.${one}`] ?? String(one)]), value, put);
    if (schema.type === "boolean") return h("input", { type: "checkbox", checked: value, onchange: (event) => put(event.target.checked) });
    if (schema.type === "array" && schema.items.type === "number") return numberList(value, put);
    if (schema.type === "array") return bitChips(schema, value, (chosen) => put(FALLING.has(path) ? chosen.toReversed() : chosen), id);
    if (schema.type === "integer" || schema.type === "number") return number(schema, value, put);
    return h("input", { type: "text", value: value ?? "", maxlength: schema.maxLength, oninput: (event) => put(event.target.value) });
  }

  link(path) {
    if (!(path in CATALOGUED)) return null;
    return h("a", { href: `/ui/methods#${CATALOGUED[path]}-${encodeURIComponent(read(this.values, path) ?? "")}`, target: "_blank", data: { methodLink: path } }, "About it");
  }

  refreshLinks() {
    for (const [path, { root }] of this.places) {
      const link = root.querySelector("a[data-method-link]");
      if (link) link.href = `/ui/methods#${CATALOGUED[path]}-${encodeURIComponent(read(this.values, path) ?? "")}`;
    }
  }

  // Shows each error of a problem at the field it names; answers those that no field here can show. `go`: to the first.
  showErrors(errors, go = true) {
    const homeless = [];
    let first = null;
    for (const { path, message } of errors) {
      const place = this.nearest(path.replace(/^body\.?/, ""));
      if (!place) { homeless.push(path ? `${path}: ${message}` : message); continue; }
      place.error.textContent = message;
      place.error.hidden = false;
      place.control.setAttribute("aria-invalid", "true");
      unfold(place.root);
      first ??= place;
    }
    if (!go) return homeless;
    first?.root.scrollIntoView({ block: "center" });
    (first?.control.matches("input, select, textarea") ? first.control : first?.control.querySelector("input, select, textarea"))?.focus();
    return homeless;
  }

  nearest(path) {
    for (let parts = path.split("."); parts.length; parts.pop()) {
      const place = this.places.get(parts.join("."));
      if (place) return place;
    }
    return null;
  }

  clear(path) {
    const place = this.places.get(path);
    if (!place) return;
    place.error.hidden = true;
    place.control.removeAttribute("aria-invalid");
  }
}

function unfold(element) {
  for (let folded = element.closest("details"); folded; folded = folded.parentElement.closest("details")) folded.open = true;
}

export function titled(path) {
  const name = path.split(".").at(-1).replaceAll("_", " ").replace(/ s$/, " (s)");
  return name[0].toUpperCase() + name.slice(1);
}

export function select(options, value, put) {
  const known = new Map(options.map(([one]) => [String(one), one]));
  return h("select", { onchange: (event) => put(known.get(event.target.value)) }, options.map(([one, words]) => h("option", { value: String(one), selected: one === value }, words)));
}

function number(schema, value, put) {
  const whole = schema.type === "integer";
  const above = schema.minimum ?? schema.exclusiveMinimum;
  const empty = schema.nullable ? null : undefined;
  return h("input", { type: "number", value: value ?? "", placeholder: schema.nullable ? schema.placeholder ?? "none" : null, min: above, max: schema.maximum ?? schema.exclusiveMaximum, step: whole ? 1 : "any", inputmode: whole ? "numeric" : "decimal", oninput: (event) => put(event.target.value === "" ? empty : Number(event.target.value)) });
}

function numberList(value, put) {
  const read = (text) => text.split(/[\s,;]+/).filter(Boolean).map(Number);
  return h("input", { type: "text", value: (value ?? []).join(", "), inputmode: "decimal", oninput: (event) => put(read(event.target.value)) });
}

function bitChips(schema, value, put, id) {
  const { minimum, maximum } = schema.items;
  const chosen = new Set(value);
  const all = Array.from({ length: maximum - minimum + 1 }, (_, index) => minimum + index);
  const toggle = (bits, on) => { if (on) chosen.add(bits); else chosen.delete(bits); put(all.filter((one) => chosen.has(one))); };
  return h("div", { class: "chips", role: "group", id }, all.map((bits) => h("label", {}, h("input", { type: "checkbox", checked: chosen.has(bits), "aria-label": `${bits} bits`, onchange: (event) => toggle(bits, event.target.checked) }), bitCell(bits))));
}
