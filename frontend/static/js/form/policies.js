// Own policies: as text, or read by the server from a file of this or another tool.
import { upload } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { OWN_POLICY } from "../job/editor.js";
import { problemNotice } from "../notices.js";

const KINDS = { own: "policy.json", haq: "HAQ's policy", hawq: "HAWQ's bit_config", aimet: "AIMET's encodings", tensorrt: "tensorrt.json" };

// A policy that was edited on a job's page, once.
export function editedPolicy() {
  const text = sessionStorage.getItem(OWN_POLICY);
  sessionStorage.removeItem(OWN_POLICY);
  return text ? [JSON.parse(text)] : [];
}

export class OwnPolicies {
  constructor(values, changed) {
    Object.assign(this, { values, changed });
    this.text = h("textarea", { spellcheck: "false", placeholder: '[{"version": 1, "layers": {"conv1": {"weights": 8, "activations": 8}}}]', oninput: () => this.parse() });
    const [chosen, named] = [freshId("policy-file"), freshId("policy-config")];
    this.chosen = h("input", { type: "file", id: chosen, accept: ".json,.npy,.py,.txt,.encodings", onchange: () => this.add() });
    this.config = h("input", { type: "text", id: named, maxlength: 200, placeholder: "bit_config_resnet18_modelsize_0.5" });
    this.status = h("div", { "aria-live": "polite" });
    this.file = h("div", { class: "field wide" },
      h("label", { for: named }, "Name of the bit_config"), this.config, h("p", { class: "why" }, "Only for a file of HAWQ's with several."),
      h("label", { for: chosen }, "Add a policy from a file"), this.chosen, h("p", { class: "why" }, "policy.json of a point, HAQ's .npy, HAWQ's bit_config, AIMET's encodings or tensorrt.json, for the chosen model."), this.status);
    this.show();
  }

  show() {
    this.text.value = this.values.policies.length ? JSON.stringify(this.values.policies, null, 1) : "";
    this.text.setCustomValidity("");
  }

  parse() {
    this.text.setCustomValidity("");
    try {
      this.values.policies = this.text.value.trim() ? [JSON.parse(this.text.value)].flat() : [];
    } catch (error) {
      this.text.setCustomValidity(`This is not JSON: ${error.message}`);
    }
    this.changed("policies");
  }

  async add() {
    const file = this.chosen.files[0];
    if (!file) return;
    if (!this.values.model_id) return fill(this.status, h("p", { class: "bad" }, "Choose a model first: a policy is read for its layers."));
    const form = new FormData();
    form.append("model_id", this.values.model_id);
    if (this.config.value.trim()) form.append("config", this.config.value.trim());
    form.append("file", file, file.name);
    try {
      const { policy, kind, notes } = await upload("/policies/convert", form, () => {});
      this.values.policies = [...this.values.policies, policy];
      this.show();
      this.changed("policies");
      fill(this.status, h("p", { class: "good" }, `${file.name} (${KINDS[kind]}) is policy ${this.values.policies.length} of this job.`), notes.map((note) => h("p", { class: "small" }, note)));
    } catch (problem) {
      fill(this.status, problemNotice(problem));
    }
    this.chosen.value = ""; // the same file, chosen again after a change, is read again
  }
}
