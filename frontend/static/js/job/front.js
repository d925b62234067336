// The front: click pins, hover previews, arrow keys walk along it.
import { byId, fill, h } from "../dom.js";
import { isNumber } from "../format.js";
import { Figure } from "../plots.js";
import { token } from "../theme.js";
import { agrees, final, withId } from "./reading.js";

const AXES = [["latency", "Latency"], ["energy", "Energy"], ["size", "Size"], ["bit-operations", "Bit operations"]];
const VALUES = [["accuracy", "Accuracy"], ["loss", "Loss"]];
const VALUES_UNLABELLED = [["accuracy", "Agreement"], ["loss", "Divergence"]];

const CLICK_PX = 24; // plotly picks a mark from 20 px around

export class Front {
  constructor(choices) {
    this.choices = choices;
    this.shown = null;
    this.figure = new Figure("front", "front", {
      adapt: (figure) => this.ringed(figure),
      on: {
        hover: (event) => this.hovered(event),
        unhover: () => choices.preview(null),
      },
    });
    const place = byId("front");
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-roledescription", "chart");
    place.setAttribute("aria-label", "Front of accuracy, or of agreement with float, over cost. Arrow keys walk from point to point, Enter pins one; the candidates table below holds the same.");
    place.addEventListener("keydown", (event) => this.key(event));
    place.addEventListener("pointerdown", (event) => this.pressed(event), true);
  }

  hovered({ points, event }) {
    const id = points[0]?.customdata ?? null;
    if (id) this.under = { id, x: event.clientX, y: event.clientY };
    this.choices.preview(id);
  }

  // plotly's own click is lost when a running job redraws the figure under the pointer.
  pressed(down) {
    const released = (up) => { if (near(down, up) && this.under && near(down, { clientX: this.under.x, clientY: this.under.y })) this.choices.toggle(this.under.id); };
    document.addEventListener("pointerup", released, { once: true, capture: true });
  }

  controls(job, data) {
    const { choices } = this;
    const targets = job.specification.targets;
    const energy = data.candidates.some((one) => isNumber(one.costs?.[choices.target]?.energy_j));
    const axes = AXES.filter(([axis]) => axis !== "energy" || energy);
    fill(byId("front-controls"),
      segmented("Value", agrees(data) ? VALUES_UNLABELLED : VALUES, choices.value, (value) => choices.set({ value })),
      segmented("Axis", axes, choices.axis, (axis) => choices.set({ axis })),
      targets.length > 1 ? h("label", {}, "Target", h("select", { data: { key: "target" }, onchange: (event) => choices.set({ target: event.target.value }) }, targets.map((target) => h("option", { value: target, selected: target === choices.target }, target)))) : null,
      predictedFront(data), this.figure.downloads());
  }

  show(job, data, card) {
    this.data = data;
    this.card = card;
    this.controls(job, data);
    const { target, axis, value } = this.choices;
    const address = `/jobs/${job.id}/figures/front.json?${new URLSearchParams({ target, axis, value })}`;
    const key = `${address}#${data.version}`;
    const rings = [...this.choices.pins, card?.id].join();
    const drawn = this.shown === key;
    if (drawn && this.rings === rings) return null;
    if (!this.shown?.startsWith(`${address}#`)) this.under = null;
    Object.assign(this, { shown: key, rings });
    if (drawn) return this.figure.draw();
    return this.figure.load(address).catch((error) => { this.shown = null; byId("front-words").textContent = error.message; });
  }

  // Rings around what is pinned, or around the suggested point.
  ringed(figure) {
    if (byId("front").clientWidth < 620) narrow(figure);
    const pins = this.choices.pins.length ? this.choices.pins : [this.card?.id].filter(Boolean);
    for (const [index, id] of pins.entries()) {
      const mark = pointOf(figure.data, id);
      if (!mark) continue;
      const both = pins.length > 1;
      figure.data.push({ type: "scatter", mode: both ? "markers+text" : "markers", x: [mark.x], y: [mark.y], yaxis: mark.yaxis, text: both ? ["AB"[index]] : undefined, textposition: "top center", textfont: { size: 13, color: token("text") }, hoverinfo: "skip", showlegend: false, marker: { symbol: index ? "square-open" : "circle-open", size: 21, color: token("text"), line: { width: 2 } } });
    }
    return figure;
  }

  key(event) {
    const ids = this.walk();
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    if (event.key in steps && ids.length) {
      event.preventDefault();
      const here = ids.indexOf(this.choices.hover ?? this.choices.pins[0]);
      const next = ids[Math.min(ids.length - 1, Math.max(0, here + steps[event.key]))];
      this.choices.preview(next);
      this.say(next);
    } else if (event.key === "Enter" && this.choices.hover) {
      this.choices.toggle(this.choices.hover);
    }
  }

  walk() {
    const marks = (this.figure.source?.data ?? []).flatMap((trace) => (trace.customdata ?? []).map((id, index) => ({ id, x: trace.x[index] })));
    return [...new Set(marks.sort((a, b) => a.x - b.x).map((mark) => mark.id))]; // a star stands for its candidate
  }

  say(id) {
    const trace = this.figure.source.data.find((one) => one.customdata?.includes(id));
    const words = trace?.hovertext?.[trace.customdata.indexOf(id)] ?? "";
    const candidate = withId(this.data.candidates, id);
    byId("front-words").textContent = [candidate?.name, words.split("<br>").slice(1).join(", "), final(candidate).words].join(", ");
  }
}

// Every policy of a whole front: costs, losses, bounds and widths as columns.
function predictedFront(data) {
  const file = data.artifacts.find((one) => one.kind === "predicted-front");
  return file ? h("a", { class: "button quiet small", href: `/artifacts/${file.id}`, download: file.filename, data: { key: "predicted-front" }, title: "all policies of the predicted front, as NumPy arrays" }, "Whole front, NPZ") : null;
}

const near = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) <= CLICK_PX;

// On a phone the axis' title takes two lines.
function narrow({ data, layout }) {
  if (!layout.xaxis.title) return;
  layout.xaxis.title.text = layout.xaxis.title.text.replace(" (", "<br>(");
  layout.margin = { ...layout.margin, l: 58, b: 74, r: 10 };
  for (const trace of data) if (/, dominated$/.test(trace.name)) trace.showlegend = false;
}

function pointOf(data, id) {
  const trace = data.find((one) => one.customdata?.includes(id));
  if (!trace) return null;
  const index = trace.customdata.indexOf(id);
  return { x: trace.x[index], y: trace.y[index], yaxis: trace.yaxis };
}

export function segmented(words, options, current, onPick) {
  return h("span", { class: "segmented", role: "group", "aria-label": words }, options.map(([value, text]) => h("button", { type: "button", "aria-pressed": String(value === current), data: { key: `${words}-${value}` }, onclick: () => onPick(value) }, text)));
}
