// One network at many widths (AdaBits): its candidates and its baselines have the widths that are trained together.
const METHOD = "adabits";
const DEFAULT = "8,6,5,4";

// Descending; null where each candidate is trained on its own.
export function jointWidths({ method, settings }) {
  if (method !== METHOD) return null;
  return String(settings?.bits ?? DEFAULT).split(",").map(Number).filter(Boolean).sort((a, b) => b - a);
}
