// A new job: network, data, goal, and everything else from the schema of a job.
import "../start.js";
import { all, get, post } from "../api.js";
import { byId, fill, h } from "../dom.js";
import { duration, quantity, shape } from "../format.js";
import { baselines, disk, estimate } from "../form/estimate.js";
import { Fields } from "../form/fields.js";
import { constraintRows, pinRows, targetChoices } from "../form/lists.js";
import { cardOf, fitToMethod, methodFields } from "../form/method.js";
import { Pick } from "../form/pick.js";
import { editedPolicy, OwnPolicies } from "../form/policies.js";
import { postTrainingFields } from "../form/post_training.js";
import { PRESETS } from "../form/presets.js";
import { Schema, write } from "../form/schema.js";
import { sensitivityFields } from "../form/sensitivity.js";
import { applyProgramme, fitToStrategy, programmes, sameField, strategyFields } from "../form/strategy.js";
import { syntheticFields, syntheticProblem } from "../form/synthetic.js";
import { tieRows } from "../form/ties.js";
import { trainingFields } from "../form/training.js";
import { guarded, problemNotice } from "../notices.js";
import { DATASET, MODEL } from "../uploads.js";

// Where a field's own name says too little.
const LABELS = {
  "calibration.observer": "Observer of ranges", "calibration.samples": "Images for ranges",
};

const query = new URLSearchParams(location.search);
const form = byId("job-form");

async function load() {
  const from = query.get("from");
  const [catalogue, targets, models, datasets, jobs, source] = await Promise.all([
    get("/methods"), get("/targets"), all("/models"), all("/datasets"), get("/jobs?limit=50"), from ? get(`/jobs/${encodeURIComponent(from)}`) : null,
  ]);
  return { catalogue, targets: targets.items, models, datasets, jobs: jobs.items, source };
}

function startValues(schema, data) {
  const values = { ...schema.initial(), ...structuredClone(data.source?.specification ?? {}) };
  values.quantizer = { ...schema.initial(schema.at("quantizer")), ...values.quantizer };
  values.quantizer.settings ??= {};
  if (query.get("policy") === "edited") values.policies = [...(values.policies ?? []), ...editedPolicy()];
  if (query.get("model")) values.model_id = query.get("model");
  if (query.get("metric")) {
    const limit = { metric: query.get("metric"), at_most: Number(query.get("at_most")), target: query.get("target") ?? undefined, unit: query.get("unit") ?? undefined, relative_to: query.get("relative_to") ?? undefined };
    values.search.constraints = [...values.search.constraints.filter((one) => one.metric !== limit.metric || one.target !== limit.target), limit];
  }
  for (const one of values.search.constraints) for (const [key, value] of Object.entries(one)) if (value === null || value === undefined) delete one[key];
  return values;
}

class NewJob {
  constructor(data) {
    this.data = data;
    this.schema = new Schema(data.catalogue.job_schema);
    this.values = startValues(this.schema, data);
    this.trainingDefault = this.schema.initial(this.schema.part(this.schema.root.properties.training));
    this.preset = data.source ? null : "balanced";
    this.layers = [];
    this.model = new Pick({ kind: MODEL, title: "Model", things: data.models, chosen: this.values.model_id, describe: modelWords, context: { architectures: data.catalogue.architectures }, onPick: () => this.picked() });
    this.dataset = new Pick({ kind: DATASET, title: "Data set", things: data.datasets, chosen: this.values.dataset_id, describe: datasetWords, context: {}, without: "No data: make images from the network", onPick: () => this.picked() });
    form.addEventListener("submit", (event) => this.submit(event));
    this.draw();
    this.picked();
  }

  draw() {
    const folds = [...form.querySelectorAll("details[data-group]")];
    const opened = new Set(folds.length ? folds.filter((one) => one.open).map((one) => one.dataset.group) : ["Quantizer", ...(query.get("policy") ? ["Own policies"] : [])]);
    const changed = (path) => this.changed(path);
    const fields = new Fields(this.schema, this.values, { catalogue: this.data.catalogue }, changed);
    this.fields = fields;
    const group = (title, note, ...content) => h("details", { class: "panel", data: { group: title }, open: opened.has(title) }, h("summary", {}, h("strong", {}, title), ` · ${note}`), h("div", { class: "fields" }, content));
    [this.pinPlace, this.tiePlace] = [h("div"), h("div")];
    const own = new OwnPolicies(this.values, changed);
    fill(byId("form-main"),
      this.panel("What", h("div", { class: "fields two" }, this.place("model_id", this.model.root), this.place("dataset_id", this.dataset.root), this.imagesPlace = h("div", { class: "wide" }))),
      this.panel("How thorough", h("div", { class: "presets" }, PRESETS.map((preset) => this.presetButton(preset)))),
      this.panel("Goal", h("div", { class: "fields two" },
        fields.field("targets", { wide: true, why: "The hardware that latency and energy are counted on.", element: targetChoices(this.values, this.data.targets, changed) }),
        fields.field("search.constraints", { label: "Limits", wide: true, why: "Every point has to keep them. None: the whole front.", element: constraintRows(this.values, this.data.targets, changed) }),
        fields.field("search.points"), fields.field("search.axis", { label: "Spread points along" }), fields.field("bits.weights", { label: "Weight bits" }), fields.field("bits.activations", { label: "Activation bits" }))),
      group("Quantizer", "method, its settings, granularity, first and last layer", methodFields(fields, this.values, this.data.catalogue, changed, this.told)),
      group("Without training", "rounding, bias correction, equalization, or the best of a list", postTrainingFields(fields, this.values, opened)),
      group("Training", "the recipe: epochs, learning rate, schedule, distillation", this.trainingToggle(), this.values.training ? trainingFields(fields, opened) : null),
      group("Calibration and sensitivity", "observer, samples, metric, budget", ["calibration.observer", "calibration.samples"].map((path) => fields.field(path, { label: LABELS[path] })), sensitivityFields(fields, this.values, this.data.catalogue, changed)),
      group("Search strategy and seed", "how policies are found, by which paper's programme, and beside which others", programmes(this.values, this.data.catalogue, this.programme, (preset) => this.follow(preset)), strategyFields(fields, this.values, this.data.catalogue, changed), sameField(fields), fields.field("bits.kernel_groups", { label: "Groups of channels" })),
      group("Ties", "layers that share their widths", fields.field("ties", { label: "Layers that share widths", wide: true, why: "Tied layers are searched as one: they get the same bits of weights and of activations.", element: this.tiePlace })),
      group("Pinned layers", "bits fixed by hand", fields.field("pins", { label: "Layers", wide: true, why: "What is not pinned is searched.", element: this.pinPlace })),
      group("Own policies", "evaluated beside the front", own.file, fields.field("policies", { wide: true, why: "JSON: one policy or a list, as downloaded from a point.", element: own.text })));
    this.drawPins();
    this.drawImages();
    this.side();
  }

  // Settings of the images that are made where there is no data.
  drawImages() {
    fill(this.imagesPlace, this.dataset.none() ? syntheticFields(this.fields, this.data.catalogue) : null);
    const problem = this.dataset.none() ? syntheticProblem(this.values, this.inspected, this.data.catalogue) : null;
    if (problem) this.fields.showErrors([{ path: "synthetic.source", message: problem }], false);
  }

  // Fields that are not drawn by the schema have their place for errors too.
  place(path, root) {
    const error = h("p", { class: "error", role: "alert", hidden: true });
    const holder = h("div", { class: "field" }, root, error);
    this.fields.places.set(path, { root: holder, control: root.querySelector("select"), error });
    return holder;
  }

  panel(title, ...content) {
    return h("section", { class: "panel" }, h("fieldset", {}, h("legend", {}, title), content));
  }

  presetButton(preset) {
    return h("button", { type: "button", "aria-pressed": String(this.preset === preset.id), data: { key: `preset-${preset.id}` }, onclick: () => this.apply(preset) }, preset.title, h("span", {}, preset.words));
  }

  apply(preset) {
    for (const [path, value] of Object.entries(preset.set)) {
      if (path.startsWith("training.")) this.values.training ??= structuredClone(this.trainingDefault);
      write(this.values, path, value);
    }
    this.preset = preset.id;
    this.draw();
  }

  // A paper's programme sets its fields; without one, what stands below is left.
  follow(preset) {
    this.programme = preset?.id ?? null;
    if (preset) applyProgramme(this.values, preset);
    this.draw();
  }

  trainingToggle() {
    const toggle = (on) => { this.values.training = on ? structuredClone(this.trainingDefault) : null; this.preset = null; this.draw(); };
    return h("label", { class: "choice wide" }, h("input", { type: "checkbox", data: { key: "training" }, checked: this.values.training !== null, onchange: (event) => toggle(event.target.checked) }), h("span", {}, h("strong", {}, "Fine-tune every point"), h("span", { class: "muted" }, " · without it, accuracy is that after calibration")));
  }

  async picked() {
    const model = this.model.thing();
    this.values.model_id = model?.id;
    this.values.dataset_id = this.dataset.none() ? null : this.dataset.thing()?.id;
    for (const path of ["model_id", "dataset_id"]) this.fields.clear(path);
    this.inspected = model ? await get(`/models/${model.id}`).catch(() => null) : null;
    this.layers = this.inspected?.inventory?.layers ?? [];
    this.drawPins();
    this.drawImages();
    this.side();
  }

  drawPins() {
    fill(this.pinPlace, pinRows(this.values, this.layers, (path) => this.changed(path)));
    fill(this.tiePlace, tieRows(this.values, this.layers, (path) => this.changed(path)));
  }

  changed(path) {
    this.fields.clear(path);
    this.fields.refreshLinks();
    if (path === "post_training.preset" || path === "sensitivity.metric") return this.draw();
    if (path === "search.strategy") {
      fitToStrategy(this.values);
      return this.draw();
    }
    if (path === "search.compare") return this.draw();
    if (path === "synthetic.source") this.drawImages();
    if (path === "quantizer.method") {
      this.told = fitToMethod(this.values, cardOf(this.data.catalogue, this.values));
      this.draw();
      return;
    }
    const preset = PRESETS.find((one) => one.id === this.preset);
    if (preset && path in preset.set) {
      this.preset = null;
      for (const button of form.querySelectorAll(".presets button")) button.setAttribute("aria-pressed", "false");
    }
    this.side();
  }

  side() {
    const { data, values } = this;
    const [model, dataset] = [this.model.thing(), this.dataset.none() ? imagesMade(values.synthetic) : this.dataset.thing()];
    const time = model && dataset ? estimate(values, model, dataset, data) : null;
    const space = disk(values, model, data.catalogue);
    const name = h("input", { id: "job-name", type: "text", maxlength: 200, value: values.name ?? "", placeholder: model && dataset ? `${model.name} ${this.dataset.none() ? "without data" : `on ${dataset.name}`}` : "", oninput: (event) => { values.name = event.target.value; } });
    if (document.activeElement?.id === "job-name") return;
    fill(byId("form-side"), h("h2", {}, "Before you start"),
      h("div", { class: "field" }, h("label", { for: "job-name" }, "Name (optional)"), name),
      time ? h("dl", { class: "big" }, h("dt", {}, `≈ ${duration(time.seconds)}`), h("dd", {}, time.measured ? `from ${time.measured} finished ${time.measured === 1 ? "job" : "jobs"} on this server` : "a rough guess: this server has not finished a job yet"), space ? [h("dt", {}, quantity("size", space)), h("dd", {}, "on disk, with all candidates' files")] : null) : h("p", { class: "muted" }, "Choose a model and a data set to see how long it will take."),
      h("p", { class: "small muted" }, `${values.search.points} points and ${baselines(values, data.catalogue)} uniform baselines, ${values.training ? `${values.training.epochs} epochs each` : "not trained"}.`),
      h("div", { id: "form-problem" }),
      h("button", { class: "primary", id: "start-job", data: { key: "start" }, disabled: !model || !dataset }, "Start the job"),
      h("details", {}, h("summary", {}, "What is sent (POST /jobs)"), h("pre", { tabindex: "0" }, JSON.stringify(values, null, 2))));
  }

  async submit(event) {
    event.preventDefault();
    const button = byId("start-job");
    button.disabled = true;
    try {
      const job = await post("/jobs", this.values);
      location.assign(`/ui/jobs/${job.id}`);
    } catch (problem) {
      button.disabled = false;
      const homeless = this.fields.showErrors(problem.facts?.errors ?? []);
      fill(byId("form-problem"), problemNotice(problem, homeless.map((text) => h("p", { class: "small" }, text))));
    }
  }
}

function modelWords(model) {
  return `${shape(model.input_shape)} in, ${model.classes} classes, ${model.layer_count ?? model.inventory?.layers.length} layers, ${quantity("count", model.total_parameters)} parameters, ${quantity("count", model.total_macs)} MACs`;
}

// What the estimate reads of a data set.
function imagesMade({ images, held_out: heldOut }) {
  return { summary: { splits: { train: { images }, select: { images: heldOut }, report: { images: heldOut } } } };
}

function datasetWords(dataset) {
  const splits = dataset.summary?.splits;
  return splits ? `${dataset.summary.labelled === false ? "no labels" : `${dataset.summary.classes} classes`}; ${["train", "select", "report"].map((name) => `${name} ${splits[name]?.images ?? 0}`).join(", ")}${dataset.summary.select_is_report ? " (select and report are one)" : ""}` : "";
}

await guarded(async () => {
  const data = await load();
  form.removeAttribute("aria-busy");
  new NewJob(data);
}, byId("form-main"));
