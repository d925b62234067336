// A file of measurements: choosing it, what it has to look like, and a form of a network's layers to write into.
import { freshId, h } from "../dom.js";
import { widthChoices } from "./figures.js";

const EXAMPLE = "layer,shape,weight_bits,activation_bits,latency_ms,energy_mj\nconv1,conv2d 3x32x32 -> 16x32x32 k3x3 s1 g1,8,8,0.31,0.12";

export class MeasurementFile {
  constructor(models) {
    this.models = models;
    this.values = { model: models[0]?.id, weight_bits: 8, activation_bits: 8 };
    this.file = h("input", { type: "file", accept: ".csv,.json", id: freshId("measurements") });
    this.root = h("div", { class: "stack" },
      h("div", { class: "field" }, h("label", { for: this.file.id }, "Measurements (CSV or JSON)"), this.file,
        h("p", { class: "why" }, "One row for each layer and pair of widths: the latency of one pass, of as many images as the target's batch.")),
      h("details", {}, h("summary", {}, "What the file looks like"), this.format()));
  }

  format() {
    return h("div", { class: "stack" },
      h("pre", { tabindex: "0", "aria-label": "Example" }, EXAMPLE),
      h("p", { class: "small" }, "A row says which layer it means by its name (layer), by its shape, which serves every layer like it, or by both. Units stand in the names: latency_s, _ms, _us, _ns; energy_j, _mj, _uj, _nj, _pj; spread_ms if you like. Energy may be missing. JSON is a list of objects with the same names. For a fit, the layer * stands for the whole network."),
      this.models.length ? h("div", { class: "controls" }, this.modelChoice(), widthChoices(this.values, () => this.link()), this.form = h("a", { class: "button small", download: "measurements.csv" }, "Download a form to fill in")) : h("p", { class: "small muted" }, "Upload a network to get a form with all of its layers."));
  }

  modelChoice() {
    queueMicrotask(() => this.link());
    return h("label", {}, "Layers of", h("select", { onchange: (event) => { this.values.model = event.target.value; this.link(); } }, this.models.map((model) => h("option", { value: model.id }, model.name))));
  }

  link() {
    const { model, weight_bits: w, activation_bits: a } = this.values;
    this.form.setAttribute("href", `/models/${model}/measurements.csv?weight_bits=${w}&activation_bits=${a}`);
  }

  async text() {
    return this.file.files[0]?.text();
  }
}
