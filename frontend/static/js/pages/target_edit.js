// An own target as TOML: checked while one types, with a network's costs on it drawn at once.
import "../start.js";
import { Problem, all, get, post, put, remove, text } from "../api.js";
import { byId, fill, h } from "../dom.js";
import { save } from "../files.js";
import { gathered, told } from "../live.js";
import { guarded, problemNotice } from "../notices.js";
import { Editor } from "../targets/editor.js";
import { CostFigures, SIMULATING, widthChoices } from "../targets/figures.js";
import { schemaPanel } from "../targets/schema.js";

const CHECK_MS = 450;
const FIRST = "bismo-edge"; // what a new text starts from where nothing else was chosen
const id = document.body.dataset.id;
const query = new URLSearchParams(location.search);

class TargetEdit {
  constructor({ content, kinds, targets, models }) {
    Object.assign(this, { kinds, targets, models, order: 0, values: { weight_bits: 8, activation_bits: 8, model: query.get("model") ?? models[0]?.id ?? "", layer: null } });
    this.saved = content;
    this.draw(content);
    this.schema();
    this.check();
  }

  draw(content) {
    const check = gathered(() => this.check(), CHECK_MS);
    this.state = h("p", { class: "small", "aria-live": "polite" });
    this.problem = h("div");
    this.side = h("aside", { class: "panel sticky schema", "aria-label": "What may stand here" });
    this.figuresPlace = h("div", { class: "cost-figures", hidden: true });
    this.waiting = h("p", { class: "muted" });
    const place = h("div");
    this.saveButton = h("button", { type: "button", class: "primary", onclick: () => this.save() }, id ? "Save" : "Save as a new target");
    fill(byId("edit"), h("div", { class: "with-side wide-side" },
      h("div", { class: "stack" },
        h("section", { class: "panel stack", "aria-label": "Description" },
          h("header", { class: "panel-head" }, h("h2", {}, "Description (TOML)"), id ? null : this.start()),
          place, this.state, this.problem,
          h("div", { class: "controls" }, this.saveButton,
            h("button", { type: "button", onclick: () => save(`${this.idInText() || "target"}.toml`, "text/plain", this.editor.text) }, "Download"),
            id ? h("button", { type: "button", class: "danger", onclick: (event) => this.remove(event.target) }, "Delete") : null)),
        h("section", { class: "panel", "aria-label": "A network on it" },
          h("header", { class: "panel-head" }, h("h2", {}, "A network on it"), this.models.length ? h("div", { class: "controls" }, this.modelChoice(), widthChoices(this.values, () => this.check())) : null),
          this.waiting, this.figuresPlace)),
      this.side));
    this.editor = new Editor(place, { text: content, label: "Description of the target as TOML", onChange: () => { this.schema(); check(); } });
    this.figures = new CostFigures(this.figuresPlace, { onLayer: (layer) => { this.values.layer = layer; this.check(); } });
    addEventListener("beforeunload", (event) => { if (this.editor.text !== this.saved) event.preventDefault(); });
  }

  modelChoice() {
    return h("label", {}, "Network", h("select", { onchange: (event) => { Object.assign(this.values, { model: event.target.value, layer: null }); this.check(); } }, this.models.map((model) => h("option", { value: model.id, selected: model.id === this.values.model }, model.name))));
  }

  // Another target as the start of a new text.
  start() {
    const choice = h("select", { onchange: () => this.startFrom(choice.value) }, this.targets.map((target) => h("option", { value: target.id, selected: target.id === (query.get("from") ?? FIRST) }, target.name)));
    return h("label", { class: "controls" }, h("span", { class: "small muted" }, "Start from"), choice);
  }

  async startFrom(other) {
    if (this.editor.text !== this.saved && !confirm("Replace what you wrote?")) return;
    await guarded(async () => { this.saved = await startText(other, this.targets); this.editor.text = this.saved; });
  }

  idInText() {
    return /^id\s*=\s*"([^"]*)"/m.exec(this.editor.text)?.[1];
  }

  schema() {
    const kind = /^kind\s*=\s*"([^"]*)"/m.exec(this.editor.text)?.[1];
    if (kind === this.kind && this.side.childElementCount) return;
    this.kind = kind;
    fill(this.side, schemaPanel(this.kinds, this.kinds.find((one) => one.id === kind)));
  }

  // Faults at their lines; where there are none, the figures. An answer that was overtaken is dropped.
  async check() {
    const order = ++this.order;
    this.figures.dim(true);
    try {
      const { problems } = await post("/targets/check", { toml: this.editor.text });
      if (order !== this.order) return;
      this.told(problems);
      if (!problems.length) await this.preview(order);
    } catch (problem) {
      if (order === this.order) this.say(problem.message, "bad");
    }
  }

  told(problems) {
    this.editor.showFaults(problems);
    this.saveButton.disabled = problems.length > 0;
    if (problems.length) this.say(`${problems.length === 1 ? "One thing keeps" : `${problems.length} things keep`} this from being a target:`, "bad");
    else this.say(this.editor.text === this.saved && id ? "As it is saved." : "Nothing is wrong with this text.", "good");
  }

  say(words, kind) {
    this.state.className = `small ${kind}`;
    this.state.textContent = words;
  }

  async preview(order) {
    if (!this.values.model) return this.wait("Upload a network, and its roofline is drawn here as you write.");
    const body = { toml: this.editor.text, model_id: this.values.model, weight_bits: this.values.weight_bits, activation_bits: this.values.activation_bits, layer: this.values.layer };
    try {
      const report = await told(post("/targets/preview", body), () => { if (order === this.order) this.wait(SIMULATING); });
      if (order !== this.order) return;
      this.wait("");
      await this.figures.show(report);
      this.figures.dim(false);
    } catch (problem) {
      if (order === this.order) this.wait(`${problem.message} ${problem.hint ?? ""}`);
    }
  }

  wait(words) {
    this.waiting.textContent = words;
    this.waiting.hidden = !words;
  }

  async save() {
    this.saveButton.disabled = true;
    try {
      const kept = id ? await put(`/targets/${encodeURIComponent(id)}`, { toml: this.editor.text }) : await post("/targets", { toml: this.editor.text });
      this.saved = this.editor.text;
      location.assign(`/ui/targets/${encodeURIComponent(kept.id)}`);
    } catch (problem) {
      this.saveButton.disabled = false;
      fill(this.problem, problemNotice(problem));
    }
  }

  async remove(button) {
    if (!button.dataset.sure) {
      button.dataset.sure = "yes";
      button.textContent = "Really delete it? Jobs that use it keep their copy.";
      return;
    }
    try {
      await remove(`/targets/${encodeURIComponent(id)}`);
      this.saved = this.editor.text;
      location.assign("/ui/targets");
    } catch (problem) {
      fill(this.problem, problemNotice(problem));
    }
  }
}

// The text of another target under an id and a name of its own.
async function startText(other, targets) {
  const content = await text(`/targets/${encodeURIComponent(other)}/toml`);
  const taken = new Set(targets.map((target) => target.id));
  let own = `my-${other}`.slice(0, 76);
  for (let number = 2; taken.has(own); number += 1) own = `my-${other}`.slice(0, 76) + `-${number}`;
  return content.replace(/^id\s*=\s*"[^"]*"/m, `id = "${own}"`).replace(/^name\s*=\s*"([^"\n]*)"/m, (_, name) => `name = "My ${name}"`);
}

await guarded(async () => {
  const [catalogue, targets, models] = await Promise.all([get("/methods"), get("/targets"), all("/models")]);
  const found = targets.items.find((target) => target.id === id);
  if (id && !found) throw new Problem({ title: "There is no such target", detail: `There is no target ${id}.`, hint: "Choose one of the list." }, 404);
  if (id && !found.own) return location.replace(`/ui/targets/new?from=${encodeURIComponent(id)}`);
  const content = id ? await text(`/targets/${encodeURIComponent(id)}/toml`) : await startText(query.get("from") ?? FIRST, targets.items);
  fill(byId("heading"), h("h1", {}, id ? `Change ${found.name}` : "Describe your own hardware"), h("p", {}, "Every figure with its unit in its name, and its source. Nothing is kept until you save."));
  byId("edit").removeAttribute("aria-busy");
  return new TargetEdit({ content, kinds: catalogue.hardware_kinds ?? [], targets: targets.items, models: models.filter((model) => model.state === "ready") });
}, byId("edit"));
