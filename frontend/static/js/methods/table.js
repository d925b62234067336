// All methods side by side: sorted by any column, filtered by what a job needs. The cards below follow the filter.
import { fill, freshId, h } from "../dom.js";
import { Table } from "../table.js";
import { badge, widthWords } from "./card.js";

const WIDTHS = [1, 2, 3, 4, 5, 6, 7, 8];
const yes = (value) => (value ? "yes" : "no");

const COLUMNS = [
  { title: "Method", heading: true, cell: (card) => h("div", { class: "method-name" }, h("a", { href: `#methods-${encodeURIComponent(card.id)}` }, card.title ?? card.id), badge(card)), key: (card) => card.title ?? card.id },
  { title: "Year", number: true, cell: (card) => yearOf(card) ?? "–", key: yearOf },
  { title: "Weights", cell: (card) => widthWords(card.weight_bits) || "–", key: (card) => card.weight_bits?.length },
  { title: "Activations", cell: (card) => widthWords(card.activation_bits) || "–", key: (card) => card.activation_bits?.length },
  { title: "In the paper", class: "words", cell: (card) => card.paper_bits ?? "–" },
  { title: "Scale per", cell: (card) => scales(card).join(", ") || "–", key: (card) => scales(card).length },
  { title: "Bits per channel", cell: (card) => yes(hasKernel(card)), key: hasKernel },
  { title: "Learns", class: "words", cell: (card) => card.learned?.join("; ") || "–", key: (card) => card.learned?.length ?? 0 },
  { title: "Zero is a level", cell: (card) => yes(card.zero_level), key: (card) => Number(card.zero_level ?? 0) },
  { title: "Needs batch norm", cell: (card) => yes(card.needs_following_normalisation), key: (card) => Number(card.needs_following_normalisation ?? 0) },
  { title: "Settings", number: true, cell: (card) => String(settings(card)), key: settings },
];

function yearOf(card) {
  const found = /\b(?:19|20)\d\d\b/.exec(card.paper ?? "");
  return found ? Number(found[0]) : null;
}

function scales(card) {
  return (card.granularities ?? []).filter((one) => one !== "kernel");
}

function hasKernel(card) {
  return Number((card.granularities ?? []).includes("kernel"));
}

function settings(card) {
  return Object.keys(card.settings_schema?.properties ?? {}).length;
}

export class MethodTable {
  constructor(root, cards) {
    this.cards = cards;
    this.wanted = { text: "", bits: null, norm: false, zero: false, kernel: false, own: false };
    this.count = h("p", { class: "small muted", "aria-live": "polite" });
    const place = h("div", { class: "scroll" });
    this.table = new Table(place, COLUMNS, { caption: "Quantization methods", empty: "No method has all of that. Ask for less.", sort: null });
    fill(root, this.filters(), this.count, place);
    this.show();
  }

  filters() {
    const ids = [freshId("filter"), freshId("filter")];
    const put = (changes) => { Object.assign(this.wanted, changes); this.show(); };
    const tick = (name, words) => h("label", { class: "choice" }, h("input", { type: "checkbox", onchange: (event) => put({ [name]: event.target.checked }) }), words);
    return h("div", { class: "filters", role: "group", "aria-label": "Filter" },
      h("div", { class: "field" }, h("label", { for: ids[0] }, "Name or paper"), h("input", { id: ids[0], type: "search", oninput: (event) => put({ text: event.target.value.trim().toLowerCase() }) })),
      h("div", { class: "field" }, h("label", { for: ids[1] }, "Has"), h("select", { id: ids[1], onchange: (event) => put({ bits: event.target.value ? Number(event.target.value) : null }) }, h("option", { value: "" }, "any bits"), WIDTHS.map((bits) => h("option", { value: String(bits) }, bits === 1 ? "1 bit" : `${bits} bits`)))),
      tick("norm", "works without batch norms"), tick("zero", "zero is a level"), tick("kernel", "own bits for each channel"), tick("own", "no reconstruction"));
  }

  fits(card) {
    const { text, bits, norm, zero, kernel, own } = this.wanted;
    const words = [card.id, card.title, card.paper, card.summary].join(" ").toLowerCase();
    return words.includes(text)
      && (bits === null || [card.weight_bits, card.activation_bits].every((side) => side?.includes(bits)))
      && !(norm && card.needs_following_normalisation) && !(zero && !card.zero_level)
      && !(kernel && !hasKernel(card)) && !(own && card.reconstruction);
  }

  show() {
    const shown = this.cards.filter((card) => this.fits(card));
    this.count.textContent = shown.length === this.cards.length ? `${shown.length} methods` : `${shown.length} of ${this.cards.length} methods`;
    this.table.show(shown);
    for (const card of this.cards) {
      const full = document.getElementById(`methods-${card.id}`);
      if (full) full.hidden = !shown.includes(card);
    }
  }
}
