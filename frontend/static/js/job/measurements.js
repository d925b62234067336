// What the reader measured of the picked point on a device of their own: the list, and a small form that adds to it.
import { post, remove } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { isNumber, percent, quantity } from "../format.js";
import { problemNotice } from "../notices.js";

// Fields as one reads a stopwatch and a power meter; `size` in the units of the service.
const FIGURES = [
  { name: "latency_s", label: "Latency (ms)", size: 1e-3 },
  { name: "energy_j", label: "Energy (mJ)", size: 1e-3 },
  { name: "accuracy", label: "Accuracy (%)", size: 1e-2, max: 100 },
];

export class Measurements {
  constructor(onChange) {
    this.onChange = onChange;
    this.forms = new Map(); // by candidate: what was typed stays while the card is drawn anew
  }

  section(candidate, { job, report }, target) {
    if (!this.forms.has(candidate.id)) this.forms.set(candidate.id, this.form(candidate.id, job.specification.targets));
    this.beside(this.forms.get(candidate.id).querySelector("form"), report, target);
    const own = candidate.measurements ?? [];
    return h("section", { class: "measured", "aria-label": "Measured by you" },
      own.length ? [h("h3", {}, "Measured by you"), h("ul", { class: "plain" }, own.map((one) => this.line(one)))] : null,
      this.forms.get(candidate.id));
  }

  line(one) {
    const figures = [quantity("latency", one.latency_s), quantity("energy", one.energy_j), percent(one.accuracy)].filter((text) => text !== "–");
    const words = `${figures.join(", ")} on ${one.device}, ${one.date}, beside ${one.target}`;
    return h("li", { title: one.note || null }, words, " ",
      h("button", { type: "button", class: "quiet small", data: { key: `forget-${one.id}` }, "aria-label": `Delete ${words}`, onclick: (event) => this.delete(one, event.target) }, "Delete"));
  }

  async delete(one, button) {
    button.disabled = true;
    await remove(`/candidates/${one.candidate_id}/measurements/${one.id}`).catch((error) => this.say(one.candidate_id, error));
    await this.onChange();
  }

  // The target that the front shows, until another is chosen in the form; its batch is what is asked for.
  beside(form, report, target) {
    if (this.target !== target) for (const { elements } of [...this.forms.values()].map((one) => one.querySelector("form"))) elements.target.value = target;
    this.target = target;
    this.report = report;
    this.explain(form);
  }

  explain(form) {
    const batch = this.report?.costs?.[form.elements.target.value]?.batch;
    form.querySelector(".why").textContent = `Latency and energy for ${batch ? `a batch of ${batch}` : "the batch that the front's axis names"}, as the figures of ${form.elements.target.value} are. Give at least one figure; the rest is taken from the point.`;
  }

  form(id, targets) {
    const choice = freshId("measure");
    const target = h("select", { id: choice, name: "target", data: { key: choice }, onchange: (event) => this.explain(event.target.form) }, targets.map((one) => h("option", { value: one, selected: one === this.target }, one)));
    const fields = [
      h("div", { class: "field", hidden: targets.length < 2 }, h("label", { for: choice }, "Beside"), target),
      field("device", "Device", { type: "text", required: true, maxlength: 200 }),
      ...FIGURES.map(({ name, label, max }) => field(name, label, { type: "number", min: 0, max, step: "any", inputmode: "decimal" })),
      field("date", "Date", { type: "date", required: true, min: "1970-01-01", value: new Date().toLocaleDateString("sv") }),
      field("note", "Note", { type: "text", maxlength: 2000 }),
    ];
    const form = h("form", { class: "measure", onsubmit: (event) => { event.preventDefault(); this.add(id, event.target); } },
      h("p", { class: "why" }),
      h("div", { class: "fields" }, fields), h("div", { data: { place: "problem" } }), h("button", { type: "submit", class: "small" }, "Add"));
    return h("details", { class: "sub" }, h("summary", {}, "Add your own measurement"), form);
  }

  async add(id, form) {
    const sent = { target: form.elements.target.value, device: form.elements.device.value, date: form.elements.date.value, note: form.elements.note.value };
    for (const { name, size } of FIGURES) if (isNumber(form.elements[name].valueAsNumber)) sent[name] = Number((form.elements[name].valueAsNumber * size).toPrecision(15));
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await post(`/candidates/${id}/measurements`, sent);
      this.say(id, null);
      for (const { name } of FIGURES) form.elements[name].value = "";
      form.elements.note.value = "";
      await this.onChange();
    } catch (error) {
      this.say(id, error);
    } finally {
      button.disabled = false;
    }
  }

  say(id, problem) {
    fill(this.forms.get(id).querySelector("[data-place=problem]"), problem ? problemNotice(problem) : null);
  }
}

function field(name, label, options) {
  const id = freshId("measure");
  return h("div", { class: "field" }, h("label", { for: id }, label), h("input", { id, name, data: { key: id }, ...options }));
}
