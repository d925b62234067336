// A quantization method as a person reads it: where it comes from, what it has, what it needs, what is not the paper's.
import { facts, h } from "../dom.js";

// 2, 3, 4, 8 as "2–4, 8"; 2, 4, 8 as they are.
export function widthWords(bits) {
  const runs = [];
  for (const width of [...(bits ?? [])].sort((a, b) => a - b)) {
    if (runs.length && runs.at(-1).at(-1) === width - 1) runs.at(-1).push(width);
    else runs.push([width]);
  }
  return runs.map((run) => (run.length > 2 ? `${run[0]}–${run.at(-1)}` : run.join(", "))).join(", ");
}

const SHARED = { tensor: "one scale per layer", channel: "one scale per channel", kernel: "channels with widths of their own" };

export const granularityWords = (card) => (card.granularities ?? []).map((one) => SHARED[one] ?? one).join("; ");

export function paperLink(card) {
  const address = card.link ?? (/^https?:/.test(card.paper ?? "") ? card.paper : null);
  return address ? h("a", { href: address, rel: "noreferrer noopener", target: "_blank" }, card.paper || address) : card.paper ?? null;
}

export function badge(card) {
  return card.reconstruction ? h("span", { class: "badge", title: "Not everything that is needed is published; what is ours is told in the notes." }, "reconstruction") : null;
}

export function notes(card) {
  const text = [card.reconstruction_notes ?? []].flat().join(" ");
  if (!text) return null;
  return h("div", { class: `notice${card.reconstruction ? " warn" : ""}` }, h("strong", {}, card.reconstruction ? "Reconstruction" : "Where it differs from the paper"), h("p", { class: "small" }, text));
}

const yes = (value, words, otherwise) => (value === undefined ? null : value ? words : otherwise);

export function methodFacts(card) {
  return facts([
    ["Weights", bitsOf(card.weight_bits)],
    ["Activations", bitsOf(card.activation_bits)],
    ["In the paper", card.paper_bits ? `${card.paper_bits} bits` : null],
    ["Scale", granularityWords(card)],
    ["Learns", card.learned === undefined ? null : card.learned.join("; ") || "nothing besides the weights"],
    ["Levels", yes(card.uniform, "equally far apart", "not equally far apart")],
    ["Zero", yes(card.zero_level, "is a level of the weights", "is not a level of the weights")],
    ["Batch norm", yes(card.needs_following_normalisation, "needed behind each layer but the last", "not needed")],
    ["One bit", card.one_bit],
    ["First and last layer", card.first_last ? `in the paper: ${card.first_last}` : null],
    ["Recipe", card.recipe],
  ]);
}

const bitsOf = (bits) => (bits ? `${widthWords(bits)} bits` : null);

// What can be set, for reading; the form has the fields.
export function settingsList(card) {
  const settings = Object.entries(card.settings_schema?.properties ?? {});
  if (!settings.length) return null;
  return h("details", {}, h("summary", {}, `${settings.length} ${settings.length === 1 ? "setting" : "settings"}`),
    h("dl", { class: "facts" }, settings.map(([name, one]) => [h("dt", {}, h("code", {}, name)), h("dd", {}, one.description ?? "", h("span", { class: "muted" }, ` ${startsAs(one.default)}`))])));
}

function startsAs(value) {
  if (value === undefined || value === null) return "Left to the method.";
  return `Default: ${typeof value === "boolean" ? (value ? "yes" : "no") : value}.`;
}
