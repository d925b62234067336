// TOML with line numbers; faults stand at their lines. A plain textarea, so that every key does what it does elsewhere.
import { fill, freshId, h } from "../dom.js";

export class Editor {
  constructor(root, { text, label, onChange }) {
    this.onChange = onChange;
    this.gutter = h("div", { class: "gutter", "aria-hidden": "true" });
    const help = freshId("editor-faults");
    this.area = h("textarea", { class: "code", spellcheck: "false", autocomplete: "off", autocapitalize: "off", wrap: "off", "aria-label": label, "aria-describedby": help, value: text, oninput: () => this.typed(), onscroll: () => { this.gutter.scrollTop = this.area.scrollTop; } });
    this.faults = h("div", { class: "faults", id: help, "aria-live": "polite" });
    this.wrong = new Map();
    fill(root, h("div", { class: "editor" }, this.gutter, this.area), this.faults);
    this.number();
  }

  get text() {
    return this.area.value;
  }

  set text(value) {
    this.area.value = value;
    this.typed();
  }

  typed() {
    this.number();
    this.onChange();
  }

  number() {
    const count = this.area.value.split("\n").length;
    if (count === this.count) return;
    this.count = count;
    this.gutter.replaceChildren(...Array.from({ length: count }, (_, index) => h("div", {}, String(index + 1))));
    this.mark();
  }

  mark() {
    for (const [index, line] of [...this.gutter.children].entries()) {
      const words = this.wrong.get(index + 1);
      line.className = words ? "wrong" : "";
      line.title = words ?? "";
    }
  }

  // problems: {line (from 1) or null, path, message, hint}
  showFaults(problems) {
    this.wrong = new Map(problems.filter((one) => one.line).map((one) => [one.line, one.message]));
    this.mark();
    this.area.setAttribute("aria-invalid", String(problems.length > 0));
    fill(this.faults, problems.length ? h("ol", { class: "plain" }, problems.map((one) => this.fault(one))) : null);
  }

  fault({ line, path, message, hint }) {
    const place = line ? h("button", { type: "button", class: "link", onclick: () => this.goTo(line) }, `Line ${line}`) : h("strong", {}, "The text");
    return h("li", { class: "fault" }, place, " ", path ? [h("code", {}, path), " "] : null, message, hint ? h("span", { class: "muted" }, ` · ${hint}`) : null);
  }

  goTo(line) {
    const lines = this.area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    this.area.focus();
    this.area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
    this.area.scrollTop = (line - 4) * (this.area.scrollHeight / lines.length);
  }
}
