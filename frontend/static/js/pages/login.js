// Signing in: the token once, then a cookie stands for it.
import "../start.js";
import { byId } from "../dom.js";

const wanted = new URLSearchParams(location.search).get("next") ?? "/ui/";
const next = wanted.startsWith("/ui/") && !wanted.includes("//") && !wanted.includes("\\") ? wanted : "/ui/";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const error = byId("login-error");
  error.hidden = true;
  const response = await fetch("/ui/login", { method: "POST", body: new URLSearchParams(new FormData(event.target)) }).catch(() => null);
  if (response?.ok) return location.assign(next);
  const problem = await response?.json().catch(() => null);
  error.textContent = [problem?.detail ?? "The server does not answer.", problem?.hint].filter(Boolean).join(" ");
  error.hidden = false;
  return byId("token").select();
});
