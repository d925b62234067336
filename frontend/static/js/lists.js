// What the list pages share: loading, an empty state that teaches, and reloading while something is under way.
import { fill, h } from "./dom.js";
import { repeat } from "./live.js";
import { guarded } from "./notices.js";

// Loads and shows; while `busy(items)` holds, again every few seconds. Redraws only what changed.
export async function liveList(root, load, show, busy) {
  let before = null;
  const round = async () => {
    const items = await load();
    const now = JSON.stringify(items);
    if (now !== before) show(items);
    before = now;
    return busy(items);
  };
  await guarded(async () => { if (await round()) repeat(round); }, root);
  return async () => { if (await round()) repeat(round); };
}

export function emptyState(root, picture, words, ...actions) {
  const image = picture ? h("img", { src: `${document.body.dataset.static}/${picture}`, alt: "", width: "520", height: "220" }) : null;
  fill(root, h("div", { class: "panel empty" }, image, words.map((text) => h("p", {}, text)), h("div", { class: "controls" }, actions)));
}
