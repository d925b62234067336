// Live updates: server-sent events, and polling where they do not come through (a proxy that buffers, an old server).
const POLL_MS = 3000;

export function follow(address, handlers, poll) {
  const source = new EventSource(address);
  let timer = null;
  const stopPolling = () => { clearInterval(timer); timer = null; };
  const startPolling = () => { timer ??= setInterval(() => { if (!document.hidden) poll(); }, POLL_MS); };
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => { stopPolling(); handle(parse(event.data), event); });
  }
  source.addEventListener("open", () => { stopPolling(); poll(); });
  source.addEventListener("error", startPolling);
  const firstWord = setTimeout(startPolling, POLL_MS);
  source.addEventListener("open", () => clearTimeout(firstWord));
  return () => { source.close(); stopPolling(); clearTimeout(firstWord); };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

// Calls `work` again and again while it answers true; rests while the page is hidden.
export function repeat(work, everyMs = POLL_MS) {
  let running = false;
  const timer = setInterval(async () => {
    if (document.hidden || running) return;
    running = true;
    try {
      if (!(await work())) clearInterval(timer);
    } catch {
      // The next round asks again; the page keeps what it shows.
    } finally {
      running = false;
    }
  }, everyMs);
  return () => clearInterval(timer);
}

// Calls `say` where `work` takes longer than a moment.
export async function told(work, say, after = 700) {
  const timer = setTimeout(say, after);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}

// At most one call per `wait` milliseconds, the last one always.
export function gathered(work, wait = 250) {
  let timer = null;
  return () => { timer ??= setTimeout(() => { timer = null; work(); }, wait); };
}
