// What went wrong and what to do, where the reader looks.
import { byId, fill, h } from "./dom.js";

export function problemNotice(problem, ...actions) {
  const title = problem.title ?? "Something went wrong";
  const message = problem.detail ?? problem.message ?? "";
  return h("div", { class: "notice bad", role: "alert" },
    h("strong", {}, title),
    message && message !== title ? h("p", {}, message) : null,
    problem.hint ? h("p", {}, problem.hint) : null,
    actions.length ? h("div", { class: "row" }, actions) : null);
}

export function showProblem(problem) {
  fill(byId("notices"), problemNotice(problem, h("button", { type: "button", class: "small", onclick: clearNotices }, "Dismiss")));
}

export function clearNotices() {
  byId("notices").replaceChildren();
}

// Runs a page's start, and says so when it fails.
export async function guarded(work, place) {
  try {
    return await work();
  } catch (error) {
    if (place) fill(place, problemNotice(error));
    else showProblem(error);
    console.error(error);
    return undefined;
  }
}
