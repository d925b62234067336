// "Try the example": sets it up on the server and leads to its job.
import { post } from "./api.js";
import { h } from "./dom.js";
import { guarded } from "./notices.js";

export function exampleButton(primary = true) {
  const button = h("button", { type: "button", class: primary ? "primary" : "", onclick: start }, "Try the example");
  async function start() {
    button.disabled = true;
    button.textContent = "Starting the example…";
    const job = await guarded(() => post("/example"));
    if (job) location.assign(`/ui/jobs/${job.id}`);
    button.disabled = false;
    button.textContent = "Try the example";
  }
  return button;
}
