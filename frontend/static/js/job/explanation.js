// Why the picked point has its bits: what each limit is worth, what another budget costs, and each layer's next widths.
import { get } from "../api.js";
import { bitCell, byId, chip, fill, h } from "../dom.js";
import { save } from "../files.js";
import { digits, isNumber, quantity, signed } from "../format.js";
import { problemNotice } from "../notices.js";
import { Table } from "../table.js";
import { layersOf } from "./reading.js";

const AXES = { latency: "latency", energy: "energy", size: "size", "bit-operations": "bit-operations" };
const SHOWN_AT_FIRST = -10; // percent: the question that people ask

export class Why {
  constructor(choices) {
    this.choices = choices;
    this.place = byId("why");
    this.known = new Map(); // candidate -> promise of its explanation
    this.place.addEventListener("toggle", () => this.refresh());
    this.table = new Table(h("div", { class: "scroll" }), [], { caption: "What one width more or fewer would change, layer by layer" });
  }

  show(picked, data) {
    Object.assign(this, { picked, data });
    this.refresh();
  }

  open() {
    this.place.open = true;
    this.place.scrollIntoView({ block: "start", behavior: "smooth" });
    this.place.querySelector("summary").focus({ preventScroll: true });
  }

  // Asked once for each candidate: what stages found never changes.
  explanation(id) {
    if (!this.known.has(id)) {
      const asked = get(`/candidates/${encodeURIComponent(id)}/explanation`);
      asked.catch(() => this.known.delete(id));
      this.known.set(id, asked);
    }
    return this.known.get(id);
  }

  async refresh() {
    const { picked, choices } = this;
    if (!this.place.open || !picked?.id) return;
    const key = `${picked.id} ${choices.target} ${this.data.version}`;
    if (this.shown === key) return;
    this.shown = key;
    const root = byId("why-content");
    try {
      const told = await this.explanation(picked.id);
      if (this.shown !== key) return;
      this.budgets = h("div", { class: "stack", "aria-live": "polite" }, h("p", { class: "muted small" }, "Solving for other budgets …"));
      fill(root, this.head(told), this.limits(told), this.budgets, tiesOf(told, this.data), h("h3", {}, "Layer by layer"), this.layers(told));
    } catch (problem) {
      this.shown = null;
      fill(root, problemNotice(problem));
      return;
    }
    await this.otherBudgets(key, picked.id);
  }

  // The step that people ask about first, and then all of them: with several limits each is solved on its own.
  async otherBudgets(key, id) {
    const address = `/candidates/${encodeURIComponent(id)}/budgets`;
    try {
      for (const query of [`?percent=${SHOWN_AT_FIRST}`, ""]) {
        const { items } = await get(address + query);
        if (this.shown !== key) return;
        this.answers = items;
        fill(this.budgets, items.length ? items.map((one) => budgetTable(one, !query)) : h("p", { class: "muted small" }, "The predicted loss of this policy is not known: nothing to compare other budgets with."));
      }
    } catch (problem) {
      if (this.shown === key) fill(this.budgets, problemNotice(problem));
    }
  }

  head(told) {
    const { name } = this.picked;
    return h("div", { class: "controls" }, h("strong", {}, name), isNumber(told.loss) ? ` predicted loss ${digits(told.loss)}` : "",
      h("span", { class: "downloads" },
        h("button", { type: "button", class: "quiet small", "aria-label": "explanation as a table (CSV)", onclick: () => this.table.save(`bitfront-${name}-explanation.csv`) }, "CSV"),
        h("button", { type: "button", class: "quiet small", "aria-label": "explanation as JSON", onclick: () => save(`bitfront-${name}-explanation.json`, "application/json", JSON.stringify({ ...told, budgets: this.answers ?? [] }, null, 1)) }, "JSON")));
  }

  limits({ limits, notes }) {
    const line = (limit) => h("li", {}, chip(limit.binds ? "binds" : "slack", limit.binds ? "warn" : ""), " ", limit.words, ". ",
      h("span", { class: "muted" }, `${limit.stated}: ${amount(limit, limit.used)} of ${amount(limit, limit.bound)}`));
    return h("div", {}, h("h3", {}, "What the limits are worth"), h("ul", { class: "plain open" }, limits.map(line)), notes.map((note) => h("p", { class: "small warn" }, note)),
      h("p", { class: "small muted" }, "Prices are slopes at the limits as they stand, from the linear relaxation; the table below answers larger steps exactly."));
  }

  layers(told) {
    const energy = told.layers.some((layer) => isNumber(layer.weights.more?.energy_j[this.choices.target] ?? layer.weights.fewer?.energy_j[this.choices.target]));
    const rows = told.layers.flatMap((layer, index) => ["weights", "activations"].map((side) => ({ index, layer, side, told: layer[side] })));
    this.table.show(rows, columns(this.choices.target, energy));
    return this.table.root;
  }
}

const amount = ({ metric }, value) => (AXES[metric] ? quantity(metric, value) : `${digits(value)} bits`);

// The sentence that people ask for, and the same for other steps.
function budgetTable(one, complete) {
  const asked = one.answers.find((answer) => answer.percent === SHOWN_AT_FIRST);
  const name = one.target ? `${one.metric} on ${one.target}` : one.metric;
  const rows = one.answers.map((answer) => h("tr", {}, h("th", { scope: "row" }, `${signed(String(answer.percent))} %`), h("td", { class: "number" }, amount(one, answer.bound), answer.capped ? h("span", { class: "muted" }, " (a limit)") : ""),
    h("td", { class: "number" }, answer.loss === null ? "none" : digits(answer.loss)), h("td", { class: "number" }, change(answer.change)), h("td", { class: "number" }, gap(answer.gap))));
  const heads = ["Step", "At most", "Least loss", "Change", "Gap"].map((title, index) => h("th", { scope: "col", class: index ? "number" : "" }, title));
  return h("div", {}, h("h3", {}, `What would 10 % less ${name} cost?`), h("p", {}, sentence(asked)),
    !complete ? h("p", { class: "muted small" }, "Solving for other steps …") : h("details", {}, h("summary", {}, "From 20 % less to 20 % more"), h("div", { class: "scroll" }, h("table", { class: "tight" }, h("caption", { class: "visually-hidden" }, `Least predicted loss at other budgets of ${name}`), h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows))),
      h("p", { class: "small muted" }, `By ${one.proof}. A gap says how much less, at most, any policy within the limits could lose.`)));
}

function sentence(answer) {
  if (!answer || answer.loss === null) return "No policy of this search costs that little.";
  const words = answer.change > 0 ? `${change(answer.change)} of predicted loss` : `nothing: another policy costs that little, and loses ${digits(Math.abs(answer.change))} less`;
  return [h("strong", {}, words), answer.gap > 0 ? `, give or take ${digits(answer.gap, 2)}.` : ", proved."];
}

const change = (value) => (isNumber(value) ? signed(digits(value)) : "–");
const gap = (value) => (value === 0 ? "0, proved" : digits(value, 2));

// Layers that share widths, and why.
function tiesOf(told, data) {
  const groups = new Map();
  for (const layer of told.layers) for (const side of ["weights", "activations"]) {
    if (!layer[side].changes_with.length) continue;
    const names = told.layers.map((one) => one.name).filter((name) => name === layer.name || layer[side].changes_with.includes(name));
    groups.set(`${side} ${names.join()}`, { side, names });
  }
  if (!groups.size) return null;
  const reads = new Map(layersOf(data.report, data.candidates).map((layer) => [layer.name, layer.reads]));
  const own = (data.job?.specification?.ties ?? []).flat();
  const why = ({ side, names }) => (side === "activations" && new Set(names.map((name) => reads.get(name))).size === 1 ? `they read one tensor, ${reads.get(names[0])}` : names.some((name) => own.includes(name)) ? "tied in this job, or through layers that are" : "they read tensors that are tied");
  return h("details", {}, h("summary", {}, `${groups.size} ${groups.size === 1 ? "group" : "groups"} of layers that share widths`), h("ul", { class: "plain" }, [...groups.values()].map((group) => h("li", {}, h("strong", {}, group.side), ` of ${group.names.join(", ")}: ${why(group)}`))));
}

function columns(target, energy) {
  const name = (row) => row.layer.name;
  return [
    { title: "Layer", heading: true, cell: name, key: (row) => row.index, raw: name, csv: "layer" },
    { title: "Operand", cell: (row) => row.side, key: (row) => row.side, raw: (row) => row.side, csv: "operand" },
    { title: "Bits", number: true, cell: (row) => bitCell(row.told.bits), key: (row) => row.told.bits, raw: (row) => row.told.bits, csv: "bits" },
    { title: "Loss", number: true, cell: (row) => digits(row.told.loss), key: (row) => row.told.loss, raw: (row) => row.told.loss, csv: "loss" },
    ...["fewer", "more"].flatMap((way) => changes(way, target, energy)),
    { title: "Bound by", cell: (row) => row.layer.bound_by[target] ?? "–", key: (row) => row.layer.bound_by[target], raw: (row) => row.layer.bound_by[target], csv: "bound_by" },
    { title: "Held by", class: "words", cell: (row) => held(row) || "–", key: held, raw: held, csv: "held_by" },
    { title: "Changes with", class: "words", cell: (row) => row.told.changes_with.join(", ") || "–", key: (row) => row.told.changes_with.join(), raw: (row) => row.told.changes_with.join(" "), csv: "changes_with" },
  ];
}

function changes(way, target, energy) {
  const of = (part) => (row) => (row.told[way] ? part(row.told[way]) : null);
  const column = (title, csv, show, part) => ({ title, number: true, cell: (row) => { const value = of(part)(row); return isNumber(value) ? signed(show(value)) : "–"; }, key: of(part), raw: of(part), csv: `${way}_${csv}` });
  const arrow = way === "more" ? "↑" : "↓";
  return [
    { title: way === "more" ? "One up" : "One down", number: true, cell: (row) => (row.told[way] ? bitCell(row.told[way].bits) : "–"), key: of((one) => one.bits), raw: of((one) => one.bits), csv: `${way}_bits` },
    column(`${arrow} loss`, "loss", (value) => digits(value), (one) => one.loss),
    column(`${arrow} latency`, "latency_s", (value) => quantity("latency", value), (one) => one.latency_s[target]),
    ...(energy ? [column(`${arrow} energy`, "energy_j", (value) => quantity("energy", value), (one) => one.energy_j[target])] : []),
    column(`${arrow} size`, "size_bytes", (value) => quantity("size", value), (one) => one.size_bytes),
  ];
}

function held(row) {
  const broken = row.told.more?.breaks ?? [];
  const along = Object.entries({ ...row.told.fewer?.weights_along, ...row.told.more?.weights_along }).map(([name]) => name);
  return [row.told.held, along.length ? `weights move along: ${along.join(", ")}` : "", broken.length ? `more would break: ${broken.join("; ")}` : ""].filter(Boolean).join("; ");
}
