// Plotly figures as the server draws them, in the colours of the page, and their downloads.
import { byId, h } from "./dom.js";
import { get } from "./api.js";
import { csv, fileName, save } from "./files.js";
import { token } from "./theme.js";

const CONFIG = { displayModeBar: false, responsive: false, doubleClick: "reset", showTips: false, scrollZoom: false };
const EXPORT = { scale: 2, smallest: 900 };

let loading = null;

export function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", { src: `${document.body.dataset.static}/plotly.min.js` });
    script.addEventListener("load", () => resolve(globalThis.Plotly));
    script.addEventListener("error", () => reject(new Error("plotly.js could not be loaded")));
    document.head.append(script);
  });
  return loading;
}

// The page's colours on a figure that came without any.
export function themed(layout) {
  const [text, muted, line, raised] = ["text", "muted", "line", "raised"].map(token);
  const copy = structuredClone(layout);
  copy.font = { ...copy.font, color: text };
  copy.hoverlabel = { ...copy.hoverlabel, bgcolor: raised, bordercolor: token("line-strong"), font: { color: text, size: 13, family: copy.font.family } };
  for (const [name, axis] of Object.entries(copy)) {
    if (/^[xy]axis\d*$/.test(name)) Object.assign(axis, { gridcolor: line, linecolor: token("line-strong"), tickcolor: line, color: muted, zerolinecolor: line });
  }
  for (const shape of copy.shapes ?? []) shape.line = { ...shape.line, color: muted };
  for (const note of copy.annotations ?? []) note.font = { ...note.font, color: muted };
  return copy;
}

// One figure in one place. `adapt` may change data and layout for the page (selection, size) before it is drawn.
export class Figure {
  constructor(id, name, { adapt = (figure) => figure, on = {} } = {}) {
    this.element = byId(id);
    this.name = name;
    this.adapt = adapt;
    this.on = on;
    this.source = null;
    this.address = null;
    this.order = 0;
    document.addEventListener("themechange", () => this.draw());
    new ResizeObserver(() => this.fit()).observe(this.element.parentElement);
  }

  // Loads the figure and draws it, unless another was asked for meanwhile.
  async load(address) {
    this.address = address;
    const order = ++this.order;
    const source = await get(address);
    if (order !== this.order) return;
    this.source = source;
    await this.draw();
  }

  async show(source) {
    this.order += 1;
    this.source = source;
    await this.draw();
  }

  fit() {
    const width = this.element.clientWidth;
    if (this.drawn && width && Math.abs(width - this.drawnWidth) > 1) this.draw();
  }

  async draw() {
    if (!this.source) return;
    const Plotly = await plotly();
    const { data, layout } = this.adapt(structuredClone(this.source));
    const first = !this.drawn;
    if (first) this.element.replaceChildren();
    this.drawn = true;
    this.drawnWidth = this.element.clientWidth;
    this.element.classList.remove("skeleton");
    await Plotly.react(this.element, data, { ...themed(layout), width: this.drawnWidth, autosize: false }, CONFIG);
    if (first) for (const [event, handle] of Object.entries(this.on)) this.element.on(`plotly_${event}`, handle);
  }

  // The figure alone, with its title and on an opaque ground, as it goes into a paper or a slide.
  async picture(format) {
    const Plotly = await plotly();
    const { data, layout } = structuredClone(this.source);
    const alone = themed(layout);
    const width = Math.max(EXPORT.smallest, layout.meta?.min_width ?? 0);
    alone.title = { text: escapeLabel(this.source.table?.title ?? this.name), font: { size: 15 }, x: 0.01, xanchor: "left", y: 0.985, yanchor: "top" };
    alone.margin = { ...alone.margin, t: (alone.margin?.t ?? 30) + 34 };
    Object.assign(alone, { paper_bgcolor: token("raised"), plot_bgcolor: token("raised"), width, height: (layout.height ?? 400) + 34, autosize: false });
    await Plotly.downloadImage({ data, layout: alone }, { format, width, height: alone.height, scale: format === "png" ? EXPORT.scale : 1, filename: this.stem() });
  }

  stem() {
    return fileName(`bitfront-${this.source?.table?.title ?? this.name}`).toLowerCase();
  }

  downloads() {
    const ready = (work) => () => { if (this.source) work(); };
    const button = (label, words, work) => h("button", { type: "button", class: "quiet small", "aria-label": `${this.name} as ${words}`, onclick: ready(work) }, label);
    return h("span", { class: "downloads" },
      button("PNG", "a PNG picture", () => this.picture("png")),
      button("SVG", "an SVG picture", () => this.picture("svg")),
      button("CSV", "a table (CSV)", () => save(`${this.stem()}.csv`, "text/csv", csv(this.source.table.columns, this.source.table.rows))),
      button("JSON", "plotly JSON", () => save(`${this.stem()}.json`, "application/json", JSON.stringify(this.source))));
  }
}

// plotly reads labels as a small HTML.
export function escapeLabel(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

