// Elements from data. Text becomes text nodes, never markup, so a hostile name stays a name.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "open", "indeterminate"]);

export function h(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options ?? {})) set(element, name, value);
  element.append(...nodes(children));
  return element;
}

function set(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
  else if (name === "class") element.className = value;
  else if (name === "data") Object.assign(element.dataset, value);
  else if (PROPERTIES.has(name)) element[name] = value;
  else if (name === "href") element.setAttribute("href", safeAddress(value));
  else element.setAttribute(name, value === true ? "" : value);
}

// Only addresses of this server, and http(s) links to papers: a "javascript:" address in data leads nowhere.
export function safeAddress(address) {
  const url = new URL(address, location.href);
  return ["http:", "https:", "blob:"].includes(url.protocol) ? String(address) : "#";
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== "");
}

export function fill(root, ...children) {
  const kept = document.activeElement;
  const key = kept && root.contains(kept) ? kept.dataset.key : undefined;
  root.replaceChildren(...nodes(children));
  root.classList.remove("skeleton");
  root.removeAttribute("aria-busy");
  if (key) root.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  return root;
}

export function byId(id) {
  return document.getElementById(id);
}

export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
}

export function bitCell(bits) {
  const width = Array.isArray(bits) ? bits.reduce((sum, one) => sum + one, 0) / bits.length : bits;
  const text = width === undefined || width === null ? "–" : width === 32 ? "f" : Number.isInteger(width) ? String(width) : width.toFixed(1);
  const range = Array.isArray(bits) && new Set(bits).size > 1 ? `${Math.min(...bits)} to ${Math.max(...bits)} bits by channel, ${text} on average` : `${text} bits`;
  const title = width === 32 ? "float" : width === 0 ? "pruned" : range;
  return h("span", { class: "bit", title, data: { bits: String(Math.round(width)) } }, text);
}

export function chip(text, kind = "") {
  return h("span", { class: `chip ${kind}` }, text);
}

export function stateChip(state) {
  return chip(state, `state ${state}`);
}

let lastId = 0;
export function freshId(stem) {
  lastId += 1;
  return `${stem}-${lastId}`;
}
