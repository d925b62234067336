// Files made in the browser: tables as CSV (RFC 4180), anything as JSON.
const FORMULA = /^[=+\-@\t\r\n]/;

export function csv(columns, rows) {
  const line = (cells) => cells.map(cell).join(",");
  return [line(columns), ...rows.map(line)].join("\r\n") + "\r\n";
}

// Text that a spreadsheet would run as a formula is disarmed with an apostrophe, as core/figures does.
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = FORMULA.test(String(value)) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function save(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = fileName(name);
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export function fileName(name) {
  return name.replace(/[^\w.+-]+/g, "-").replace(/^-+|-+$/g, "") || "bitfront";
}
