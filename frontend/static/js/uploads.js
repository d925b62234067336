// Uploading a network or a data set: progress while it is sent, then what the inspection found.
import { get, upload } from "./api.js";
import { fill, freshId, h } from "./dom.js";
import { quantity } from "./format.js";
import { problemNotice } from "./notices.js";

const INSPECT_MS = 700;

export const MODEL = { address: "/models", what: "model", accept: ".onnx,.safetensors", hint: "ONNX, or safetensors of a known architecture. Pickled files (.pt, .pth) are refused: loading one would run code." };
export const DATASET = { address: "/datasets", what: "data set", accept: ".npz,.zip", multiple: true, hint: ".npz with images and labels (or train_x, train_y, test_x, test_y), or .zip with a folder per class or a labels manifest. Without labels: at least 32 images. Several files make one data set: say what each is for." };

export class Uploader {
  constructor(root, kind, { architectures = [], onReady = () => {}, onAdded = () => {} }) {
    Object.assign(this, { root, kind, architectures, onReady, onAdded });
    this.file = h("input", { type: "file", id: freshId("file"), accept: kind.accept, multiple: kind.multiple ?? false, onchange: () => this.chosen() });
    this.status = h("div", { "aria-live": "polite" });
    this.fields = h("div", { class: "fields" });
    this.send = h("button", { type: "button", class: "primary", disabled: true, onclick: () => this.start() }, "Upload");
    this.zone = h("div", { class: "dropzone" }, h("div", { class: "field" }, h("label", { for: this.file.id }, `Choose a ${kind.what}, or drop it here`), this.file, h("p", { class: "why" }, kind.hint)), this.fields, h("div", {}, this.send), this.status);
    fill(root, this.zone);
    this.dropping();
  }

  dropping() {
    const over = (event) => { event.preventDefault(); this.zone.classList.toggle("over", event.type === "dragover"); };
    for (const event of ["dragover", "dragleave", "drop"]) this.zone.addEventListener(event, over);
    this.zone.addEventListener("drop", (event) => { this.file.files = event.dataTransfer.files; this.chosen(); });
  }

  chosen() {
    const files = [...this.file.files];
    this.send.disabled = !files.length;
    fill(this.status);
    if (!files.length) return fill(this.fields);
    this.name = field("Name", h("input", { value: files[0].name.replace(/\.[^.]+$/, ""), maxlength: 200 }), "What to call it here.");
    const safetensors = this.kind === MODEL && files[0].name.endsWith(".safetensors");
    this.architecture = safetensors ? field("Architecture", h("select", {}, this.architectures.map((card) => h("option", { value: card.id }, card.title ?? card.id))), "A safetensors file holds weights only; say what network they belong to.") : null;
    this.splits = this.kind === DATASET ? files.map((file) => field(files.length > 1 ? `Use ${file.name} for` : "Use for", h("select", {}, [["", "as the file says, else cut by seed"], ["train", "train"], ["select", "select"], ["report", "report"]].map(([value, words]) => h("option", { value, selected: value === guess(file.name) }, words))), "train: calibration and training; select: choices; report: every figure you read.")) : [];
    this.preprocessing = field("Preprocessing (JSON, optional)", h("input", { placeholder: '{"scale": 255, "mean": [0.5], "std": [0.5]}' }), "x = (pixel / scale − mean) / std; also channel_order and size. Left empty: pixels / 255.");
    return fill(this.fields, [this.name, this.architecture, ...this.splits, this.preprocessing].filter(Boolean).map((one) => one.element));
  }

  async start() {
    const files = [...this.file.files];
    this.send.disabled = true;
    try {
      let thing = null;
      for (const [index, file] of files.entries()) thing = await this.one(file, index, thing);
      this.onAdded(thing);
      await this.inspected(thing);
    } catch (problem) {
      fill(this.status, problemNotice(problem));
      this.send.disabled = false;
    }
  }

  one(file, index, before) {
    const form = new FormData();
    if (!before) this.firstFields(form);
    if (this.splits[index]?.value()) form.append("split", this.splits[index].value());
    form.append("file", file, file.name);
    const bar = h("progress", { max: file.size || 1, value: 0, "aria-label": `Uploading ${file.name}` });
    const words = h("p", { class: "small muted" });
    fill(this.status, bar, words);
    return upload(before ? `${this.kind.address}/${before.id}/files` : this.kind.address, form, (sent, total) => {
      bar.value = Math.min(sent, file.size);
      words.textContent = total && sent >= total ? "Sent; the server checks the file" : `${quantity("size", sent)} of ${quantity("size", total ?? file.size)}`;
    });
  }

  firstFields(form) {
    for (const [name, one] of [["name", this.name], ["architecture", this.architecture], ["preprocessing", this.preprocessing]]) if (one?.value().trim()) form.append(name, one.value().trim());
  }

  async inspected(thing) {
    fill(this.status, h("progress", { "aria-label": "Inspecting" }), h("p", { class: "small muted" }, "Inspecting: reading the file in a process of its own"));
    let found = thing;
    while (found.state === "inspecting") {
      await new Promise((resolve) => { setTimeout(resolve, INSPECT_MS); });
      found = await get(`${this.kind.address}/${thing.id}`);
    }
    if (found.state === "rejected") fill(this.status, problemNotice(found.problem ?? { title: "The file was rejected" }));
    else fill(this.status, h("p", { class: "good" }, `${found.name} is ready.`));
    this.send.disabled = false;
    this.onReady(found);
  }
}

function guess(name) {
  if (/train/i.test(name)) return "train";
  if (/val|select|dev/i.test(name)) return "select";
  return /test|report/i.test(name) ? "report" : "";
}

function field(words, input, why) {
  input.id = freshId("field");
  return { element: h("div", { class: "field" }, h("label", { for: input.id }, words), input, h("p", { class: "why" }, why)), value: () => input.value };
}
