// What this network costs on a target, and on several side by side.
import { get } from "../api.js";
import { byId, fill, freshId, h } from "../dom.js";
import { quantity } from "../format.js";
import { told } from "../live.js";
import { problemNotice } from "../notices.js";
import { Figure } from "../plots.js";
import { CostFigures, SIMULATING, widened, widthChoices } from "../targets/figures.js";
import { provenanceWords } from "../targets/words.js";
import { Table } from "../table.js";

const FILES = [["csv", "CSV", ""], ["json", "JSON", ""], ["npy", "NumPy (.npy)", ""], ["npz", "NumPy, all (.npz)", ""], ["npy", "HAQ's layout (.npy)", "&layout=haq"]];
const AT_FIRST = ["bismo-edge", "bismo-cloud"]; // an edge and a cloud of one kind

export class Costs {
  constructor(root, model, targets) {
    Object.assign(this, { model, targets, order: 0 });
    const query = new URLSearchParams(location.search);
    const known = (id) => targets.some((target) => target.id === id);
    this.values = { target: known(query.get("target")) ? query.get("target") : targets[0].id, weight_bits: Number(query.get("w")) || 8, activation_bits: Number(query.get("a")) || 8, layer: null };
    this.problem = h("div");
    this.place = h("div", { class: "cost-figures" });
    this.files = h("p", { class: "files-row" });
    const choice = h("select", { "aria-label": "Target", onchange: (event) => { this.values.target = event.target.value; this.load(); } }, targets.map((target) => h("option", { value: target.id, selected: target.id === this.values.target }, `${target.name} · ${target.provenance}`)));
    fill(root, h("header", { class: "panel-head" }, h("h2", {}, "What it costs on a target"), h("div", { class: "controls" }, h("label", {}, "Target", choice), widthChoices(this.values, () => this.load()))), this.problem, this.place,
      h("div", {}, h("h3", {}, "All layers at all widths"), this.files));
    this.figures = new CostFigures(this.place, { onLayer: (layer) => { this.values.layer = layer; this.load(); } });
    this.load();
  }

  async load() {
    const order = ++this.order;
    const { target, weight_bits: w, activation_bits: a, layer } = this.values;
    this.remember();
    this.offer();
    this.figures.dim(true);
    try {
      const address = `/models/${this.model.id}/costs/figures?target=${encodeURIComponent(target)}&weight_bits=${w}&activation_bits=${a}${layer ? `&layer=${encodeURIComponent(layer)}` : ""}`;
      const report = await told(get(address), () => { if (order === this.order) fill(this.problem, h("p", { class: "small muted" }, SIMULATING)); });
      if (order !== this.order) return;
      fill(this.problem);
      await this.figures.show(report);
      this.figures.dim(false);
    } catch (problem) {
      if (order !== this.order) return;
      this.place.hidden = true;
      fill(this.problem, problemNotice(problem));
    }
  }

  remember() {
    const query = new URLSearchParams({ target: this.values.target, w: this.values.weight_bits, a: this.values.activation_bits });
    history.replaceState(null, "", `${location.pathname}?${query}${location.hash}`);
  }

  offer() {
    const target = this.targets.find((one) => one.id === this.values.target);
    const address = `/models/${this.model.id}/costs?target=${encodeURIComponent(this.values.target)}`;
    const files = FILES.filter(([, , more]) => !more || target.clock_hz);
    fill(this.files, files.map(([format, words, more]) => h("a", { class: "button small", href: `${address}&format=${format}${more}`, download: "" }, words)), h("a", { class: "button small quiet", href: `/ui/targets/${encodeURIComponent(this.values.target)}` }, "About this target"));
  }
}

export class Comparison {
  constructor(root, model, targets) {
    Object.assign(this, { model, order: 0, targets, stem: freshId("comparison") });
    const known = AT_FIRST.filter((id) => targets.some((target) => target.id === id));
    this.chosen = new Set(known.length ? known : targets.slice(0, 2).map((target) => target.id));
    this.values = { weight_bits: 8, activation_bits: 8 };
    this.problem = h("div");
    const policies = h("section", { "aria-label": "How the best policy differs", class: "stack" });
    this.table = h("div", { class: "scroll" });
    this.words = h("p", { class: "small" });
    this.found = h("div", { class: "stack" }, this.table, this.words, ["bounds", "shares"].map((name) => this.panel(name)));
    fill(root, h("header", { class: "panel-head" }, h("h2", {}, "Side by side on several targets"), h("div", { class: "controls" }, widthChoices(this.values, () => this.load()))),
      h("fieldset", { class: "target-ticks" }, h("legend", { class: "visually-hidden" }, "Targets"), targets.map((target) => this.tick(target))), this.problem, this.found, policies);
    this.figures = Object.fromEntries([["bounds", "What binds each layer"], ["shares", "Share of the latency"]].map(([name, title]) => [name, new Figure(`${this.stem}-${name}`, title, { adapt: widened(() => byId(`${this.stem}-${name}`)) })]));
    for (const [name, figure] of Object.entries(this.figures)) byId(`${this.stem}-${name}-downloads`).append(figure.downloads());
    this.policies = new Policies(policies, model, () => this.names());
    this.load();
  }

  names() {
    return this.targets.map((target) => target.id).filter((id) => this.chosen.has(id));
  }

  panel(name) {
    const title = { bounds: "What binds each layer", shares: "Share of the latency, in percent" }[name];
    return h("section", { class: "plot-part", "aria-label": title }, h("header", { class: "panel-head" }, h("h3", {}, title), h("span", { id: `${this.stem}-${name}-downloads` })), h("div", { class: "plot-scroll" }, h("div", { id: `${this.stem}-${name}`, class: "plot" })));
  }

  tick(target) {
    const toggle = (on) => { if (on) this.chosen.add(target.id); else this.chosen.delete(target.id); this.load(); };
    return h("label", { class: "choice" }, h("input", { type: "checkbox", checked: this.chosen.has(target.id), onchange: (event) => toggle(event.target.checked) }), target.name);
  }

  async load() {
    const order = ++this.order;
    this.found.hidden = !this.chosen.size;
    if (!this.chosen.size) return fill(this.problem, h("p", { class: "muted" }, "Tick the targets to compare."));
    try {
      const answer = await get(`/models/${this.model.id}/comparison?targets=${encodeURIComponent(this.names().join(","))}&weight_bits=${this.values.weight_bits}&activation_bits=${this.values.activation_bits}`);
      if (order !== this.order) return undefined;
      fill(this.problem);
      this.show(answer);
    } catch (problem) {
      if (order !== this.order) return undefined;
      this.found.hidden = true;
      fill(this.problem, problemNotice(problem));
    }
    return undefined;
  }

  show(answer) {
    new Table(this.table, COLUMNS, { caption: "The network on each target" }).show(answer.targets);
    const count = answer.targets[0].layers.length;
    this.words.textContent = answer.targets.length < 2 ? "" : answer.differing.length ? `${answer.differing.length} of ${count} layers are bound by something else on another of these targets.` : "Every layer is bound by the same thing on all of these targets.";
    for (const [name, figure] of Object.entries(this.figures)) figure.show(answer.figures[name]);
  }
}

// The policy that each target would choose if only its own costs decided.
class Policies {
  constructor(root, model, names) {
    Object.assign(this, { model, names, stem: freshId("policies") });
    this.bits = h("select", { "aria-label": "Uniform bits" }, [2, 3, 4, 5, 6, 7, 8].map((bits) => h("option", { value: String(bits), selected: bits === 5 }, String(bits))));
    this.start = h("button", { type: "button", class: "small", onclick: () => this.load() }, "Search on these targets");
    this.status = h("div", { "aria-live": "polite" });
    this.found = h("div", { class: "stack", hidden: true }, this.table = h("div", { class: "scroll" }), h("div", {}, h("span", { id: `${this.stem}-downloads` })), h("div", { class: "plot-scroll" }, h("div", { id: this.stem, class: "plot" })));
    fill(root, h("h3", {}, "How the best policy differs"),
      h("p", { class: "small muted" }, "What each target would choose within its own latency of uniform bits, if only the hardware decided: the loss of every layer is taken as 4 to the power of minus its bits, no accuracy is looked at. A job searches with the losses of the network itself."),
      h("div", { class: "controls" }, h("label", {}, "Latency of uniform", this.bits, "bits"), this.start), this.status, this.found);
    this.figure = new Figure(this.stem, "Bits that each target would choose", { adapt: widened(() => byId(this.stem)) });
    byId(`${this.stem}-downloads`).append(this.figure.downloads());
  }

  async load() {
    this.start.disabled = true;
    fill(this.status, h("p", { class: "small muted" }, "Searching: some seconds for each target."));
    try {
      const answer = await get(`/models/${this.model.id}/comparison/policies?targets=${encodeURIComponent(this.names().join(","))}&uniform_bits=${this.bits.value}`);
      fill(this.status);
      this.found.hidden = false;
      const columns = POLICY_COLUMNS.filter((column) => column.title !== EARLY || answer.targets.some((row) => row.early_half));
      new Table(this.table, columns, { caption: "The policy that each target would choose" }).show(answer.targets);
      await this.figure.show(answer.figures.policies);
    } catch (problem) {
      fill(this.status, problemNotice(problem));
    } finally {
      this.start.disabled = false;
    }
  }
}

const fixed = (value) => (value === undefined ? "–" : value.toFixed(2));
const gap = (row) => (row.early_half ? row.early_half.others - row.early_half.depthwise : undefined);

const EARLY = "Early half: activation bits of other layers less depthwise";
const POLICY_COLUMNS = [
  { title: "Target", heading: true, class: "name", cell: (row) => row.name, key: (row) => row.name },
  { title: "Latency", number: true, cell: (row) => (row.policy ? `${quantity("latency", row.latency_s)} ${provenanceWords(row.provenance)}` : "nothing fits it within that latency"), key: (row) => row.latency_s },
  { title: "at most", number: true, cell: (row) => quantity("latency", row.budget_s), key: (row) => row.budget_s },
  { title: "Mean weight bits", number: true, cell: (row) => fixed(row.mean_weight_bits), key: (row) => row.mean_weight_bits },
  { title: "Mean activation bits", number: true, cell: (row) => fixed(row.mean_activation_bits), key: (row) => row.mean_activation_bits },
  { title: EARLY, class: "number words", number: true, cell: (row) => (row.early_half ? `${fixed(gap(row))} (${fixed(row.early_half.others)} − ${fixed(row.early_half.depthwise)})` : "no depthwise layers"), key: gap },
];

const COLUMNS = [
  { title: "Target", heading: true, class: "name", cell: (row) => h("a", { href: `/ui/targets/${encodeURIComponent(row.target)}` }, row.name), key: (row) => row.name },
  { title: "Images per pass", number: true, cell: (row) => String(row.images_per_pass), key: (row) => row.images_per_pass },
  { title: "Latency of a pass", number: true, cell: (row) => `${quantity("latency", row.latency_s)} ${provenanceWords(row.provenance)}`, key: (row) => row.latency_s },
  { title: "for one image", number: true, cell: (row) => quantity("latency", row.latency_s / row.images_per_pass), key: (row) => row.latency_s / row.images_per_pass },
  { title: "Energy for one image", number: true, cell: (row) => (row.energy_j === null ? "not known" : quantity("energy", row.energy_j / row.images_per_pass)), key: (row) => (row.energy_j === null ? null : row.energy_j / row.images_per_pass) },
  { title: "Time bound by", cell: (row) => Object.entries(row.bound_share).sort(([, one], [, other]) => other - one).map(([bound, share]) => `${bound} ${(100 * share).toFixed(0)} %`).join(", "), key: (row) => Object.keys(row.bound_share)[0] },
  { title: "Fits", cell: (row) => (row.misfits.length ? h("span", { class: "bad", title: row.misfits.join("\n") }, `no: ${row.misfits[0]}${row.misfits.length > 1 ? `, and ${row.misfits.length - 1} more` : ""}`) : "yes"), key: (row) => row.misfits.length },
];
