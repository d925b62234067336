// Layers that share widths: those that read one tensor, which the network itself ties, and ties of one's own.
import { fill, h } from "../dom.js";
import { select } from "./fields.js";

export function tieRows(values, layers, changed) {
  const root = h("div", { class: "rows", role: "group" });
  if (!layers.length) return fill(root, h("p", { class: "muted" }, "Choose a model first: its layers appear here."));
  const pair = [layers[0].name, layers[1]?.name ?? layers[0].name];
  const own = () => (values.ties ??= []);
  const update = () => { draw(); changed("ties"); };

  function add() {
    const [one, other] = pair;
    if (one === other || own().some((tie) => tie.includes(one) && tie.includes(other))) return;
    own().push([...pair]);
    update();
  }

  function draw() {
    const names = layers.map((layer) => [layer.name, layer.name]);
    const choice = (place, words) => { const control = select(names, pair[place], (name) => { pair[place] = name; }); control.setAttribute("aria-label", words); control.dataset.key = `tie-${place}`; return control; };
    fill(root,
      graphTies(layers).map(({ reads, members }) => h("div", { class: "row-edit", data: { tie: "graph" } }, h("span", {}, members.join(" + ")), h("span", { class: "muted" }, ` share activation bits: they read one tensor, ${reads}, which has one quantizer. This tie cannot be removed.`))),
      own().map((tie, index) => h("div", { class: "row-edit", data: { tie: "own" } }, h("span", {}, tie.join(" + ")), h("span", { class: "muted" }, " share both widths"), h("button", { type: "button", class: "quiet small", "aria-label": `Remove the tie of ${tie.join(" and ")}`, onclick: () => { own().splice(index, 1); update(); } }, "Remove"))),
      layers.length > 1 ? h("div", { class: "row-edit" }, choice(0, "Tie this layer"), "with", choice(1, "with this layer"), h("button", { type: "button", class: "small", data: { key: "add-tie" }, onclick: add }, "Add a tie")) : null);
  }

  draw();
  return root;
}

function graphTies(layers) {
  const readers = new Map();
  for (const layer of layers) readers.set(layer.reads, [...(readers.get(layer.reads) ?? []), layer.name]);
  return [...readers].filter(([, members]) => members.length > 1).map(([reads, members]) => ({ reads, members }));
}
