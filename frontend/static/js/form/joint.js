// What every candidate of a job is compared to: uniform baselines, at widths that the method has.
const BASELINES = [8, 6, 5, 4, 3, 2];

// One network at many widths (AdaBits): those that are trained together, descending. Null where each candidate is trained on its own.
export function jointWidths(card, settings) {
  if (!card?.joint) return null;
  const widths = settings?.bits ?? card.settings_schema.properties.bits.default;
  return String(widths).split(",").map(Number).filter(Boolean).sort((a, b) => b - a);
}

export function baselineWidths(card, settings) {
  const has = (side) => (bits) => !card?.[side] || card[side].includes(bits);
  return jointWidths(card, settings) ?? BASELINES.filter(has("weight_bits")).filter(has("activation_bits"));
}
