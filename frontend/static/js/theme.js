// Light, dark, or as the system says; figures listen for "themechange" and take their colours from the tokens.

const CHOICES = ["auto", "light", "dark"];
const WORDS = { auto: ["◐", "Auto", "as the system"], light: ["○", "Light", "light"], dark: ["●", "Dark", "dark"] };
const system = matchMedia("(prefers-color-scheme: dark)");

export function chosenTheme() {
  const stored = localStorage.getItem("bitfront-theme");
  return CHOICES.includes(stored) ? stored : "auto";
}

export function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function apply(choice) {
  localStorage.setItem("bitfront-theme", choice);
  if (choice === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  show(choice);
  announce();
}

function announce() {
  document.dispatchEvent(new CustomEvent("themechange"));
}

function show(choice) {
  const [sign, word, meaning] = WORDS[choice];
  const button = document.getElementById("theme");
  button.firstChild.textContent = `${sign} `;
  button.querySelector("span").textContent = word;
  button.setAttribute("aria-label", `Colours: ${meaning}`);
}

export function startTheme() {
  show(chosenTheme());
  system.addEventListener("change", announce);
  document.getElementById("theme").addEventListener("click", () => {
    apply(CHOICES[(CHOICES.indexOf(chosenTheme()) + 1) % CHOICES.length]);
  });
}
