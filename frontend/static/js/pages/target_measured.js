// A target from a file of measurements.
import "../start.js";
import { all, upload } from "../api.js";
import { byId, fill, h } from "../dom.js";
import { guarded, problemNotice } from "../notices.js";
import { labelled } from "../targets/fit_form.js";
import { MeasurementFile } from "../targets/measurement_file.js";

const INTERPOLATE = "Tell integer widths between measured ones as well. Such a cost says that it was interpolated; without this, what was not measured is refused.";

class MeasuredForm {
  constructor(models) {
    this.file = new MeasurementFile(models);
    const text = (attributes) => h("input", { type: "text", ...attributes });
    this.fields = {
      id: labelled("Id", text({ required: true, maxlength: 80, placeholder: "my-board" }), "Small letters, digits, dots and dashes; its name in jobs."),
      name: labelled("Name (optional)", text({ maxlength: 200 }), "For people; the id if left out."),
      device: labelled("Device", text({ required: true, maxlength: 200, placeholder: "a board, its clock" }), "What it was measured on."),
      date: labelled("Date (optional)", h("input", { type: "date" }), "When; today if left out."),
      batch: labelled("Images per pass", h("input", { type: "number", min: 1, max: 4096, step: 1, value: "1" }), "What each latency stands for."),
      source: labelled("How (optional)", text({ maxlength: 1000, placeholder: "runtime, threads, repetitions" }), "Stands with every figure."),
    };
    this.interpolate = h("input", { type: "checkbox" });
    this.problem = h("div", { "aria-live": "polite" });
    this.send = h("button", { class: "primary" }, "Make a target of them");
    fill(byId("measured"), h("form", { class: "panel stack", novalidate: true, onsubmit: (event) => this.submit(event) },
      this.file.root, h("div", { class: "fields" }, Object.values(this.fields).map((field) => field.root)),
      h("label", { class: "choice" }, this.interpolate, h("span", {}, h("strong", {}, "Interpolate widths"), h("span", { class: "muted" }, ` · ${INTERPOLATE}`))),
      this.problem, h("div", {}, this.send)));
  }

  async submit(event) {
    event.preventDefault();
    const file = this.file.file.files[0];
    if (!file) return fill(this.problem, problemNotice({ title: "Choose the file with your measurements.", hint: "CSV or JSON, as described beneath the field." }));
    const form = new FormData();
    for (const [name, { control }] of Object.entries(this.fields)) if (control.value.trim()) form.append(name, control.value.trim());
    if (this.interpolate.checked) form.append("interpolate", "true");
    form.append("file", file, file.name);
    this.send.disabled = true;
    try {
      const target = await upload("/targets/measurements", form, () => {});
      return location.assign(`/ui/targets/${encodeURIComponent(target.id)}`);
    } catch (problem) {
      this.send.disabled = false;
      return fill(this.problem, problemNotice(problem));
    }
  }
}

await guarded(async () => {
  const models = await all("/models");
  new MeasuredForm(models.filter((model) => model.state === "ready"));
}, byId("measured"));
