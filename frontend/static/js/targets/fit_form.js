// Fitting a target's free parameters to measurements: what is free, the rows, what is kept apart, and what came out.
import { post } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { save } from "../files.js";
import { problemNotice } from "../notices.js";
import { MeasurementFile } from "./measurement_file.js";
import { fitPanel } from "./parts.js";
import { unitOf, valueOf } from "./words.js";

export class FitForm {
  constructor(root, { target, kind, models }) {
    Object.assign(this, { target, kind });
    this.free = new Set();
    this.file = new MeasurementFile(models);
    this.model = labelled("Network that was measured", h("select", {}, models.map((model) => h("option", { value: model.id }, model.name))), "Its layers are simulated and compared with your rows.");
    this.apart = labelled("Keep apart (layers, with commas between)", h("input", { type: "text", placeholder: "conv1, fc" }), "They take no part in the fit and judge it.");
    this.to = labelled("Where the measurements come from", h("input", { type: "text", maxlength: 400, placeholder: "my board, 2026-11-21" }), "Stands with every figure of the fitted target.");
    this.result = h("div", { class: "stack", "aria-live": "polite" });
    this.start = h("button", { type: "button", class: "primary", onclick: () => this.fit(null) }, "Fit");
    fill(root, h("details", {}, h("summary", {}, h("strong", {}, "Fit to your measurements"), " · a few free parameters by least squares on log ratios"),
      models.length ? h("div", { class: "stack" }, this.parameters(), h("div", { class: "fields" }, this.model.root, this.apart.root, this.to.root), this.file.root, h("div", {}, this.start), this.result)
        : h("p", { class: "muted" }, "Upload the network that you measured first: its layers are what is fitted to.")));
  }

  parameters() {
    const value = (name) => (name === "clock_hz" ? this.target.clock_hz : this.target.parameters[name]);
    const toggle = (name, on) => { if (on) this.free.add(name); else this.free.delete(name); };
    return h("fieldset", {}, h("legend", {}, "Free parameters"), this.kind.free_parameters.map((name) => h("label", { class: "choice" }, h("input", { type: "checkbox", onchange: (event) => toggle(name, event.target.checked) }), h("span", {}, h("code", {}, name), " ", h("span", { class: "muted" }, `now ${text(valueOf(value(name)))} ${unitOf(name)}`)))));
  }

  async fit(saveAs) {
    this.start.disabled = true;
    try {
      const measurements = this.file.file.files[0] ? await this.file.text() : "";
      if (!this.free.size || !measurements) throw new Error(this.free.size ? "Choose the file with your measurements." : "Tick at least one free parameter.");
      const body = { model_id: this.model.control.value, free: [...this.free], measurements, keep_apart: this.apart.control.value.split(",").map((one) => one.trim()).filter(Boolean), ...(this.to.control.value.trim() ? { to: this.to.control.value.trim() } : {}), ...(saveAs ? { save_as: saveAs } : {}) };
      this.show(await post(`/targets/${encodeURIComponent(this.target.id)}/fit`, body));
    } catch (problem) {
      fill(this.result, problemNotice(problem.title ? problem : { title: problem.message }));
    } finally {
      this.start.disabled = false;
    }
  }

  show({ target, toml, saved }) {
    const name = labelled("Save as", h("input", { type: "text", maxlength: 80, value: this.target.own ? this.target.id : `my-${this.target.id}` }), "The id of the own target that it becomes.");
    const values = [...this.free].map((one) => [one, one === "clock_hz" ? [this.target.clock_hz, target.clock_hz] : [this.target.parameters[one], target.parameters[one]]]);
    fill(this.result,
      h("table", { class: "told" }, h("thead", {}, h("tr", {}, ["Parameter", "Before", "Fitted", "Unit"].map((title) => h("th", { scope: "col", class: ["Before", "Fitted"].includes(title) ? "number" : "" }, title)))), h("tbody", {}, values.map(([one, [before, after]]) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, one)), h("td", { class: "number" }, valueOf(before)), h("td", { class: "number" }, valueOf(after)), h("td", {}, unitOf(one)))))),
      h("div", {}, fitPanel(target.fit, target.id)),
      saved ? h("p", { class: "good" }, "Saved as ", h("a", { href: `/ui/targets/${encodeURIComponent(target.id)}` }, target.id), ".") : h("div", { class: "controls" }, name.root, h("button", { type: "button", onclick: () => this.fit(name.control.value.trim()) }, "Save it"), h("button", { type: "button", class: "quiet", onclick: () => save(`${target.id}.toml`, "text/plain", toml) }, "Download as TOML")));
  }
}

const text = (words) => (typeof words === "string" ? words : "");

export function labelled(words, control, why) {
  control.id = freshId("field");
  const help = h("p", { class: "why", id: `${control.id}-why` }, why);
  control.setAttribute("aria-describedby", help.id);
  return { control, root: h("div", { class: "field" }, h("label", { for: control.id }, words), control, help) };
}
