// The hardware Bitfront knows by kind of accelerator, to search and to filter, each with provenance and source.
import "../start.js";
import { get } from "../api.js";
import { byId, chip, facts, fill, freshId, h } from "../dom.js";
import { guarded } from "../notices.js";
import { kindPart } from "../targets/parts.js";
import { fitWords, memoryWords, provenanceChip, supportWords } from "../targets/words.js";

const FROM = [["", "shipped and own"], ["own", "own only"], ["shipped", "shipped only"]];

function card(target) {
  const address = `/ui/targets/${encodeURIComponent(target.id)}`;
  return h("article", { class: "panel", id: target.id },
    h("div", { class: "card-head" }, h("h3", {}, h("a", { href: address }, target.name)), h("code", {}, target.id), provenanceChip(target), target.own ? chip("own") : null),
    h("p", {}, target.description),
    facts([
      ["Runs", supportWords(target.supports)], ["Latency of", target.batch === 1 ? "one image" : `a batch of ${target.batch}`],
      ["Memories", target.supports.memories?.map((memory) => h("div", {}, memoryWords(memory)))],
      ["Fitted", fitWords(target.fit)],
    ].filter(([, value]) => !Array.isArray(value) || value.length)),
    h("div", { class: "controls" }, h("a", { class: "button small", href: address }, "Figures and sources"), h("a", { class: "button small quiet", href: target.own ? `${address}/edit` : `/ui/targets/new?from=${encodeURIComponent(target.id)}` }, target.own ? "Change" : "Use as a start for your own")));
}

class List {
  constructor(targets, kinds) {
    Object.assign(this, { targets, kinds });
    this.query = new URLSearchParams(location.search);
    this.results = h("div", { class: "kinds" });
    this.count = h("p", { class: "small muted", "aria-live": "polite" });
    const known = kinds.filter((kind) => targets.some((target) => target.kind === kind.id));
    fill(byId("list"), h("div", { class: "panel" }, h("div", { class: "filters" },
      this.input("search", "Search", h("input", { type: "search", placeholder: "name, kind, source, memory" })),
      this.input("kind", "Kind", options([["", "all kinds"], ...known.map((kind) => [kind.id, kind.title])])),
      this.input("provenance", "Provenance", options([["", "all"], ...["simulated", "table", "measured"].map((one) => [one, one])])),
      this.input("from", "Whose", options(FROM))), this.count), this.results);
    this.show();
  }

  input(name, label, control) {
    control.id = freshId("filter");
    control.value = this.query.get(name) ?? "";
    control.addEventListener("input", () => { this.query.set(name, control.value); if (!control.value) this.query.delete(name); this.remember(); this.show(); });
    return h("div", { class: "field" }, h("label", { for: control.id }, label), control);
  }

  remember() {
    history.replaceState(null, "", `${location.pathname}${this.query.size ? `?${this.query}` : ""}${location.hash}`);
  }

  matches(target) {
    const wanted = (name) => this.query.get(name) ?? "";
    if (wanted("kind") && target.kind !== wanted("kind")) return false;
    if (wanted("provenance") && target.provenance !== wanted("provenance")) return false;
    if (wanted("from") && Boolean(target.own) !== (wanted("from") === "own")) return false;
    const text = JSON.stringify([target.id, target.name, target.kind, this.titleOf(target.kind), target.description, target.source, target.supports.memories]).toLowerCase();
    return wanted("search").toLowerCase().split(/\s+/).every((word) => text.includes(word));
  }

  titleOf(id) {
    return this.kinds.find((kind) => kind.id === id)?.title ?? id;
  }

  show() {
    const found = this.targets.filter((target) => this.matches(target));
    this.count.textContent = found.length === this.targets.length ? `${found.length} targets` : `${found.length} of ${this.targets.length} targets`;
    const ids = [...new Set([...this.kinds.map((kind) => kind.id), ...found.map((target) => target.kind)])];
    const groups = ids.map((id) => [id, found.filter((target) => target.kind === id)]).filter(([, members]) => members.length);
    fill(this.results, groups.length ? groups.map(([id, members]) => this.group(id, members)) : this.nothing());
  }

  group(id, members) {
    const kind = this.kinds.find((one) => one.id === id);
    return h("section", { "aria-label": this.titleOf(id), class: "kind" }, h("h2", {}, this.titleOf(id)),
      kind ? h("details", { class: "about-kind" }, h("summary", {}, "Formula and notes"), h("div", { class: "panel" }, kindPart(kind))) : null,
      h("div", { class: "cards" }, members.map(card)));
  }

  nothing() {
    const own = this.query.get("from") === "own";
    return h("div", { class: "panel empty" }, h("p", {}, own ? "No own target yet. Describe your hardware as a TOML file, with one that ships as a start, or upload what you measured." : "No target fits these filters."), h("div", { class: "controls" }, own ? h("a", { class: "button primary", href: "/ui/targets/new" }, "Describe your own") : null, h("a", { class: "button", href: "/ui/targets" }, "Show all")));
  }
}

const options = (pairs) => h("select", {}, pairs.map(([value, words]) => h("option", { value }, words)));

await guarded(async () => {
  const [answer, catalogue] = await Promise.all([get("/targets"), get("/methods")]);
  new List(answer.items, catalogue.hardware_kinds ?? []);
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}, byId("list"));
