// Choosing a network or a data set: one that is there, or a new one, uploaded in place.
import { fill, freshId, h } from "../dom.js";
import { Uploader } from "../uploads.js";

const NONE = "none";

export class Pick {
  // `without`: words for taking none, where that is possible.
  constructor({ kind, title, things, describe, context, chosen, without = null, onPick }) {
    Object.assign(this, { kind, title, things, describe, context, without, onPick });
    this.selected = without && chosen === null ? NONE : chosen ?? things.find((one) => one.state === "ready")?.id ?? "";
    this.list = h("select", { id: freshId("pick"), onchange: (event) => this.pick(event.target.value) });
    this.facts = h("p", { class: "why" });
    this.uploadPlace = h("div");
    this.more = h("details", { open: !this.ready().length && !this.none() }, h("summary", {}, `Upload a ${kind.what}`), this.uploadPlace);
    this.root = h("div", { class: "pick" }, this.field = h("div", { class: "field" }, h("label", { for: this.list.id }, title), this.list, this.facts), this.more);
    this.newUploader();
    this.draw();
  }

  ready() {
    return this.things.filter((one) => one.state === "ready");
  }

  newUploader() {
    new Uploader(this.uploadPlace, this.kind, { ...this.context, onReady: (thing) => this.added(thing) });
  }

  added(thing) {
    if (thing.state !== "ready") return;
    this.things = [thing, ...this.things.filter((one) => one.id !== thing.id)];
    this.more.open = false;
    this.pick(thing.id);
    this.draw();
  }

  pick(id) {
    this.selected = id;
    if (this.none()) this.more.open = false;
    this.draw();
    this.onPick(this.thing());
  }

  thing() {
    return this.things.find((one) => one.id === this.selected) ?? null;
  }

  none() {
    return this.selected === NONE;
  }

  draw() {
    const ready = this.ready();
    fill(this.list, ready.length ? null : h("option", { value: "" }, "none yet: upload one below"), ready.map((one) => h("option", { value: one.id, selected: one.id === this.selected }, one.name)),
      this.without ? h("option", { value: NONE, selected: this.none() }, this.without) : null);
    fill(this.facts, this.thing() ? this.describe(this.thing()) : "");
  }
}
