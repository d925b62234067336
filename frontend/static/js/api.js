// The REST service. Every failure becomes a Problem (RFC 9457) with what was wrong and what to do.

export class Problem extends Error {
  constructor(body, status) {
    super(body.detail || body.title || `The server answered ${status}`);
    this.title = body.title ?? "Something went wrong";
    this.hint = body.hint ?? "";
    this.code = body.code ?? "";
    this.facts = body.facts ?? {};
    this.status = status;
  }
}

export async function get(address) {
  return request(address, { headers: { Accept: "application/json" } });
}

export async function post(address, body) {
  return request(address, { method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) });
}

export async function put(address, body) {
  return request(address, { method: "PUT", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify(body) });
}

export async function text(address) {
  return request(address, {}, (response) => response.text());
}

export async function remove(address) {
  return request(address, { method: "DELETE", headers: { Accept: "application/json" } });
}

// Every page of a list.
export async function all(address) {
  const items = [];
  let cursor = null;
  do {
    const joint = address.includes("?") ? "&" : "?";
    const page = await get(cursor ? `${address}${joint}cursor=${encodeURIComponent(cursor)}` : address);
    items.push(...page.items);
    cursor = page.next;
  } while (cursor);
  return items;
}

async function request(address, options, read = (answer) => answer.json().catch(() => ({}))) {
  let response;
  try {
    response = await fetch(address, { credentials: "same-origin", ...options });
  } catch {
    throw new Problem({ title: "The server does not answer", detail: "The server does not answer.", hint: "See whether Bitfront still runs; the page tries again by itself." }, 0);
  }
  if (response.ok) return read(response);
  throw refused(await response.json().catch(() => ({})), response.status);
}

function refused(body, status) {
  if (status === 401 && !location.pathname.startsWith("/ui/login")) {
    location.assign(`/ui/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  return new Problem(body, status);
}

// Uploads by XMLHttpRequest, which alone reports how much was sent.
export function upload(address, form, onProgress) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    sender.open("POST", address);
    sender.responseType = "json";
    sender.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.lengthComputable ? event.total : null));
    sender.addEventListener("load", () => {
      const body = sender.response ?? {};
      if (sender.status >= 200 && sender.status < 300) resolve(body);
      else reject(refused(body, sender.status));
    });
    const lost = () => reject(new Problem({ title: "The upload was interrupted", detail: "The connection ended before the file was sent.", hint: "Send it again." }, 0));
    for (const event of ["error", "abort", "timeout"]) sender.addEventListener(event, lost);
    sender.send(form);
  });
}
