// The bit map of a point as a grid to edit: what it would cost and lose is asked while one types, and nothing is kept.
import { post } from "../api.js";
import { bitCell, byId, fill, h } from "../dom.js";
import { save } from "../files.js";
import { digits, isNumber, quantity, signed } from "../format.js";
import { problemNotice } from "../notices.js";
import { layersOf } from "./reading.js";

const SIDES = [["weights", "W"], ["activations", "A"]];
const WIDTHS = [1, 2, 3, 4, 5, 6, 7, 8, 16, 32];
const PAUSE_MS = 200;
export const OWN_POLICY = "bitfront-own-policy"; // where a new job finds it

export class Editor {
  constructor(choices, address, explanation) {
    Object.assign(this, { choices, address, explanation });
    this.panel = byId("editor-panel");
    this.grid = byId("editor-grid");
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.grid.addEventListener("click", (event) => this.clicked(event));
    this.order = 0;
  }

  async open(candidate, data) {
    this.candidate = candidate;
    this.jobId = data.job.id;
    this.start = candidate.policy;
    this.policy = structuredClone(candidate.policy);
    this.names = layersOf(data.report, [candidate]).map((layer) => layer.name); // in the order they run
    this.targets = data.job.specification.targets;
    this.at = { side: 0, layer: 0 };
    Object.assign(this, { shared: {}, pinned: {}, told: null, first: null, substituted: {} });
    this.panel.hidden = false;
    this.panel.scrollIntoView({ block: "start", behavior: "smooth" });
    fill(byId("editor-title"), `Edit the bits of ${candidate.name}`);
    this.draw(true);
    try {
      const told = await this.explanation(candidate.id);
      for (const layer of told.layers) {
        for (const [side] of SIDES) {
          this.shared[`${layer.name} ${side}`] = layer[side].changes_with;
          this.pinned[`${layer.name} ${side}`] = layer[side].held.startsWith("pinned") ? layer[side].held : "";
        }
      }
      this.draw();
    } catch (problem) {
      fill(byId("editor-problems"), problemNotice(problem));
    }
    this.ask(0);
  }

  close() {
    this.panel.hidden = true;
    this.order += 1;
  }

  bits(name, side) {
    return this.policy.layers[name][side];
  }

  // Layers that share this width change with it.
  set(bits) {
    const [side] = SIDES[this.at.side];
    const name = this.names[this.at.layer];
    for (const one of [name, ...(this.shared[`${name} ${side}`] ?? [])]) this.policy.layers[one][side] = bits;
    this.draw();
    this.ask();
  }

  key(event) {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -Infinity], End: [0, Infinity] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) {
      event.preventDefault();
      const [down, right] = moves[event.key];
      this.at = { side: clamp(this.at.side + down, SIDES.length), layer: clamp(this.at.layer + right, this.names.length) };
      this.draw(true);
    } else if (/^[1-8]$/.test(event.key)) {
      this.set(Number(event.key));
    } else if (event.key === "f" || event.key === "F") {
      this.set(32);
    } else if ("+-".includes(event.key)) {
      this.step(event.key === "+" ? 1 : -1);
    }
  }

  step(by) {
    const now = this.bits(this.names[this.at.layer], SIDES[this.at.side][0]);
    if (!Number.isInteger(now)) return;
    this.set(WIDTHS[clamp(WIDTHS.indexOf(now) + by, WIDTHS.length)] ?? now);
  }

  clicked(event) {
    const cell = event.target.closest("[data-layer]");
    if (!cell) return;
    this.at = { side: Number(cell.dataset.side), layer: Number(cell.dataset.layer) };
    this.draw(true);
  }

  draw(focus = false) {
    const held = focus || this.grid.contains(document.activeElement);
    const head = h("tr", {}, h("td", {}), this.names.map((name) => h("th", { scope: "col", title: name }, h("span", {}, name))));
    fill(this.grid, h("table", { class: "bit-grid", role: "grid", "aria-label": "Bits by layer; arrows move, 1 to 8 or f set, plus and minus step" }, h("thead", {}, head),
      h("tbody", {}, SIDES.map(([side, letter], row) => h("tr", {}, h("th", { scope: "row" }, letter), this.names.map((name, column) => this.cell(name, side, row, column)))))));
    if (held) this.grid.querySelector('[tabindex="0"]')?.focus({ preventScroll: !focus });
    if (focus) this.grid.querySelector('[tabindex="0"]')?.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.toolbar();
  }

  cell(name, side, row, column) {
    const here = this.at.side === row && this.at.layer === column;
    const key = `${name} ${side}`;
    const chosen = this.names[this.at.layer];
    const together = this.at.side === row && (this.shared[`${chosen} ${side}`] ?? []).includes(name);
    const changed = JSON.stringify(this.bits(name, side)) !== JSON.stringify(this.start.layers[name][side]);
    const words = [name, side, this.pinned[key], this.substituted[name], this.shared[key]?.length ? `changes with ${this.shared[key].join(", ")}` : ""].filter(Boolean).join("; ");
    const kinds = [here ? "here" : "", together ? "together" : "", changed ? "changed" : "", this.pinned[key] ? "pinned" : "", this.substituted[name] ? "substituted" : ""].filter(Boolean).join(" ");
    return h("td", { role: "gridcell", class: kinds, title: words, tabindex: here ? "0" : "-1", data: { layer: String(column), side: String(row) }, "aria-label": `${words}: ${wordsOf(this.bits(name, side))}` }, bitCell(this.bits(name, side)));
  }

  toolbar() {
    const name = this.names[this.at.layer];
    const [side] = SIDES[this.at.side];
    const now = this.bits(name, side);
    fill(byId("editor-tools"),
      h("p", { class: "readout", "aria-live": "polite" }, h("strong", {}, name), ` ${side}: ${wordsOf(now)}`, this.pinned[`${name} ${side}`] ? h("span", { class: "warn" }, `, ${this.pinned[`${name} ${side}`]}`) : "", this.substituted[name] ? h("span", { class: "warn" }, `, ${this.substituted[name]}`) : "", this.shared[`${name} ${side}`]?.length ? `, changes with ${this.shared[`${name} ${side}`].join(", ")}` : ""),
      h("div", { class: "controls", role: "group", "aria-label": "Set the width" }, WIDTHS.map((bits) => h("button", { type: "button", class: "quiet small width", "aria-pressed": String(bits === now), "aria-label": `set to ${wordsOf(bits)}`, data: { key: `width-${bits}` }, onclick: () => this.set(bits) }, bitCell(bits)))),
      h("div", { class: "controls" },
        h("button", { type: "button", class: "small", data: { key: "use" }, onclick: () => this.use() }, "Use in a new job"),
        h("button", { type: "button", class: "small", data: { key: "policy-json" }, onclick: () => save(`bitfront-${this.candidate.name}-edited.policy.json`, "application/json", JSON.stringify(this.policy, null, 1)) }, "Policy JSON"),
        h("button", { type: "button", class: "quiet small", data: { key: "reset" }, onclick: () => { this.policy = structuredClone(this.start); this.draw(); this.ask(0); } }, "Back to the start"),
        h("button", { type: "button", class: "quiet small", data: { key: "close" }, onclick: () => this.close() }, "Close")));
  }

  use() {
    sessionStorage.setItem(OWN_POLICY, JSON.stringify(this.policy));
    location.assign(`/ui/jobs/new?from=${encodeURIComponent(this.jobId)}&policy=edited`);
  }

  // Asked when one pauses; an answer to an older question is dropped.
  ask(pause = PAUSE_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.predict(), pause);
  }

  async predict() {
    const order = ++this.order;
    try {
      const told = await post(`${this.address}/predictions`, { policy: this.policy });
      if (order !== this.order) return;
      this.first ??= JSON.stringify(this.policy) === JSON.stringify(this.start) ? told : await post(`${this.address}/predictions`, { policy: this.start });
      if (order !== this.order) return;
      this.told = told;
      this.substituted = Object.fromEntries(Object.entries(told.costs[this.choices.target]?.substituted ?? {}).map(([name, words]) => [name, `${words} on ${this.choices.target}`]));
      this.draw();
      fill(byId("editor-costs"), this.costs());
      fill(byId("editor-problems"), told.problems.length ? h("ul", { class: "plain open" }, told.problems.map((one) => h("li", { class: "warn" }, one.layers.length ? `${one.layers.join(", ")}: ` : "", one.message))) : h("p", { class: "small good" }, "It keeps every tie, pin, limit and memory of this job."));
    } catch (problem) {
      if (order === this.order) fill(byId("editor-problems"), problemNotice(problem));
    }
  }

  costs() {
    const [before, now] = [this.first, this.told];
    const row = (title, kind, part) => { const [left, right] = [part(before), part(now)]; return isNumber(left) || isNumber(right) ? h("tr", {}, h("th", { scope: "row" }, title), [left, right].map((value) => h("td", { class: "number" }, shown(kind, value))), h("td", { class: "number" }, difference(kind, left, right))) : null; };
    const targets = [...new Set([...this.targets, ...Object.keys(now.costs)])].filter((target) => now.costs[target]).flatMap((target) => [row(`Latency on ${target}`, "latency", (one) => one.costs[target].latency_s), row(`Energy on ${target}`, "energy", (one) => one.costs[target].energy_j)]);
    const heads = ["", "Start", "Edited", "Difference"].map((title, index) => h(index ? "th" : "td", index ? { scope: "col", class: "number" } : {}, title));
    return h("table", { class: "tight" }, h("caption", { class: "visually-hidden" }, "The edited policy against the start"), h("thead", {}, h("tr", {}, heads)),
      h("tbody", {}, row("Predicted loss", "loss", (one) => one.loss_increase), targets, row("Size", "size", (one) => one.size_bytes), row("Bit operations", "bit-operations", (one) => one.bit_operations)));
  }
}

const clamp = (position, count) => Math.min(count - 1, Math.max(0, position));
const wordsOf = (bits) => (Array.isArray(bits) ? "a width for each channel" : bits === 32 ? "float" : `${bits} ${bits === 1 ? "bit" : "bits"}`);
const shown = (kind, value) => (kind === "loss" ? digits(value) : quantity(kind, value));

function difference(kind, left, right) {
  if (!isNumber(left) || !isNumber(right)) return "–";
  if (left === right) return "0";
  const share = kind !== "loss" && left > 0 ? ` (${signed(digits(100 * (right / left - 1), 2))} %)` : "";
  return `${signed(shown(kind, right - left))}${share}`;
}
