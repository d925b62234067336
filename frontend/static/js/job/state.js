// What the reader chose: kept in the address, so that a link shows a colleague the same.
const DEFAULTS = { target: "", axis: "latency", value: "accuracy", at: "picked", pins: [] };

export class Choices extends EventTarget {
  constructor() {
    super();
    this.hover = null;
    this.read();
    addEventListener("popstate", () => { this.read(); this.tell(); });
  }

  read() {
    const query = new URLSearchParams(location.search);
    for (const name of ["target", "axis", "value", "at"]) this[name] = query.get(name) ?? DEFAULTS[name];
    this.pins = (query.get("pin") ?? "").split(",").filter(Boolean).slice(0, 2);
  }

  set(changes) {
    Object.assign(this, changes);
    const query = new URLSearchParams();
    for (const name of ["target", "axis", "value", "at"]) if (this[name] !== DEFAULTS[name]) query.set(name, this[name]);
    if (this.pins.length) query.set("pin", this.pins.join(","));
    const text = query.toString().replaceAll("%2C", ",");
    history.replaceState(null, "", text ? `?${text}` : location.pathname);
    this.tell();
  }

  // First click picks, a second one compares with it, a click on a picked one lets it go; a third replaces the second.
  toggle(id) {
    const pins = this.pins.includes(id) ? this.pins.filter((pin) => pin !== id) : [...this.pins.slice(0, 1), id];
    this.set({ pins, hover: null });
  }

  preview(id) {
    if (this.hover === id) return;
    this.hover = id;
    this.dispatchEvent(new Event("hover"));
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }
}
