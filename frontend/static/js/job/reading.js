// What the job page reads from a candidate; as core/figures/reading.py does for the figures.
import { isNumber } from "../format.js";

export function final(candidate, quantity = "accuracy", split = "report") {
  for (const [state, words] of [["trained", "after training"], ["calibrated", "after calibration"]]) {
    const value = candidate?.measured?.[state]?.[split]?.[quantity];
    if (isNumber(value)) return { value, words, state, samples: candidate.measured[state][split].samples };
  }
  return { value: null, words: "not evaluated yet", state: null, samples: null };
}

// What a share of right answers is: without labels, the answers are those of the float network.
export const agrees = (data) => data?.report?.metric === "agreement";
export const quality = (data) => (agrees(data) ? "agreement with float" : "accuracy");
export const capital = (words) => words[0].toUpperCase() + words.slice(1);

export const calibrated = (candidate) => candidate?.measured?.calibrated?.report?.accuracy ?? null;

export function cost(candidate, axis, target) {
  if (axis === "size") return candidate?.size_bytes ?? null;
  if (axis === "bit-operations") return candidate?.bit_operations ?? null;
  return candidate?.costs?.[target]?.[axis === "latency" ? "latency_s" : "energy_j"] ?? null;
}

export function averageBits(candidate, side) {
  const layers = Object.values(candidate?.policy?.layers ?? {});
  if (!layers.length) return null;
  return layers.reduce((sum, layer) => sum + mean(layer[side]), 0) / layers.length;
}

export function mean(bits) {
  return Array.isArray(bits) ? bits.reduce((sum, one) => sum + one, 0) / bits.length : bits;
}

export const named = (candidates, name) => candidates.find((one) => one.name === name);
export const withId = (candidates, id) => candidates.find((one) => one.id === id) ?? null;

// What the card shows before anyone picked: the cheapest point within one percentage point of float, else the best.
export function suggested(candidates, report, target) {
  const float = report?.float?.report?.accuracy;
  const evaluated = candidates.filter((one) => one.origin === "search" && isNumber(final(one).value));
  const byCost = [...evaluated].sort((a, b) => (cost(a, "latency", target) ?? a.size_bytes) - (cost(b, "latency", target) ?? b.size_bytes));
  const close = byCost.find((one) => isNumber(float) && final(one).value >= float - 0.01);
  if (close) return { candidate: close, why: "Suggested: the fastest point within one percentage point of float." };
  const best = [...evaluated].sort((a, b) => final(b).value - final(a).value)[0];
  if (best) return { candidate: best, why: report?.metric === "agreement" ? "Suggested: the point that agrees most with float so far." : "Suggested: the most accurate point so far." };
  return { candidate: candidates.find((one) => one.origin === "search") ?? candidates[0] ?? null, why: "Predicted only: not evaluated yet." };
}

export function layersOf(report, candidates) {
  if (report?.inventory?.layers) return report.inventory.layers;
  return Object.keys(candidates.find((one) => one.policy?.layers)?.policy.layers ?? {}).map((name) => ({ name }));
}
