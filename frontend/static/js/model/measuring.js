// Measuring this network on the server's own machine: the order, how far it is, and the target that comes of it.
import { get, post } from "../api.js";
import { fill, h } from "../dom.js";
import { repeat } from "../live.js";
import { problemNotice } from "../notices.js";
import { labelled } from "../targets/fit_form.js";

const POLL_MS = 1500;
const slug = (name) => name.toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "") || "network";

export class Measuring {
  // `onReady`: there is a new target.
  constructor(root, model, onReady) {
    Object.assign(this, { address: `/models/${model.id}/measure`, onReady });
    this.status = h("div", { "aria-live": "polite" });
    this.fields = {
      target_id: labelled("Id of the target", h("input", { type: "text", maxlength: 80, value: `${slug(model.name)}-here`.slice(0, 80) }), "The measured figures become a target of your own."),
      batch: labelled("Images per pass", h("input", { type: "number", min: 1, max: 256, step: 1, value: "1" }), "What each latency stands for."),
      threads: labelled("Threads", h("input", { type: "number", min: 1, max: 1024, step: 1, placeholder: "a task's" }), "Left out: as many as a task of this server has."),
      device: labelled("Device", h("select", {}, ["cpu", "cuda"].map((one) => h("option", { value: one }, one))), "cuda is refused where this server has none."),
    };
    this.start = h("button", { type: "button", class: "primary", onclick: () => this.order() }, "Measure on this machine");
    fill(root, h("h2", {}, "Measured on this machine"),
      h("p", { class: "muted" }, "Every layer and the whole network through onnxruntime, in float and in int8, with warm-up and repetitions. Other work on this machine disturbs it: measure while no job runs."),
      h("div", { class: "fields" }, Object.values(this.fields).map((field) => field.root)), h("div", {}, this.start), this.status);
    this.ordered = localStorage.getItem(this.address) !== null;
    if (this.ordered) this.watch();
  }

  async order() {
    this.start.disabled = true;
    const { target_id: id, batch, threads, device } = Object.fromEntries(Object.entries(this.fields).map(([name, { control }]) => [name, control.value.trim()]));
    try {
      this.show(await post(this.address, { target_id: id, device, batch: Number(batch), ...(threads ? { threads: Number(threads) } : {}) }));
      this.ordered = true;
      localStorage.setItem(this.address, id);
      this.watch();
    } catch (problem) {
      this.start.disabled = false;
      fill(this.status, problemNotice(problem));
    }
  }

  watch() {
    repeat(() => this.look(), POLL_MS);
  }

  // Whether it is still under way.
  async look() {
    const now = await get(this.address);
    this.show(now);
    if (now.state === "succeeded" && this.ordered) {
      this.ordered = false;
      localStorage.removeItem(this.address);
      this.onReady(now.target_id);
    }
    return now.state === "queued" || now.state === "running";
  }

  show(now) {
    const under = now.state === "queued" || now.state === "running";
    this.start.disabled = under;
    if (under) fill(this.status, h("progress", { max: 1, value: now.progress, "aria-label": "Measuring" }), h("p", { class: "small muted" }, now.state === "queued" ? "Waits until a worker is free." : `${Math.round(100 * now.progress)} %${now.message ? `, ${now.message}` : ""}`));
    else if (now.state === "succeeded") fill(this.status, h("p", { class: "good" }, "Measured: ", h("a", { href: `/ui/targets/${encodeURIComponent(now.target_id)}` }, now.target_id), "."));
    else this.ended(now);
  }

  ended(now) {
    localStorage.removeItem(this.address);
    fill(this.status, problemNotice(now.problem ?? { title: `The measuring ended as ${now.state}.` }));
  }
}
