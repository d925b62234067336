// All candidates as a sortable table; a row's name pins it, hovering previews its bit map.
import { byId, chip, fill, h } from "../dom.js";
import { digits, isNumber, percent, points, quantity } from "../format.js";
import { Table } from "../table.js";
import { agrees, averageBits, calibrated, capital, cost, final, quality } from "./reading.js";

export class Candidates {
  constructor(choices) {
    this.choices = choices;
    this.table = new Table(byId("candidates"), [], {
      caption: "Candidates with accuracy and costs",
      empty: "The search has not found a point yet.",
      rowOptions: (row) => ({
        class: [choices.pins.includes(row.id) || row.id === this.shown ? "picked" : "", frontOf(this.data, choices.target)?.has(row.point) === false ? "faint" : ""].join(" "),
        onmouseenter: () => choices.preview(row.id), onmouseleave: () => choices.preview(null),
      }),
    });
  }

  show(data, shown) {
    Object.assign(this, { data, shown: shown?.id });
    const { id } = document.body.dataset;
    fill(byId("candidates-controls"),
      data.candidates.some((one) => one.measurements?.length) ? h("a", { class: "button quiet small", href: `/jobs/${id}/measurements.csv`, download: `bitfront-measurements-${id}.csv`, data: { key: "measurements" } }, "Measured by you, CSV") : null,
      h("button", { type: "button", class: "quiet small", data: { key: "candidates-csv" }, "aria-label": "candidates as a table (CSV)", onclick: () => this.table.save(`bitfront-candidates-${id}.csv`) }, "CSV"));
    this.table.show(data.candidates, columns(data, this.choices));
  }
}

// Slots on the front of that target; null until the job's report is there.
function frontOf(data, target) {
  const slots = data?.report?.on_front?.[target];
  return slots ? new Set(slots) : null;
}

function columns(data, choices) {
  const { target } = choices;
  const float = data.report?.float?.report?.accuracy;
  const provenance = data.report?.costs?.[target]?.provenance;
  const energy = data.candidates.some((one) => isNumber(cost(one, "energy", target)));
  const front = frontOf(data, target);
  const metric = quality(data);
  const share = agrees(data) ? "agreement" : "accuracy";
  const against = (row) => (isNumber(final(row).value) && isNumber(float) ? final(row).value - float : null);
  return [
    { title: "Name", heading: true, cell: (row) => pin(row, choices), key: (row) => row.name, raw: (row) => row.name, csv: "name" },
    { title: "From", cell: (row) => row.origin, key: (row) => row.origin, raw: (row) => row.origin, csv: "origin" },
    { title: "State", cell: (row) => stateOf(row, front), key: (row) => (front?.has(row.point) ? "on the front" : row.state), raw: (row) => row.state, csv: "state" },
    { title: capital(metric), number: true, cell: (row) => percent(final(row).value), key: (row) => final(row).value, raw: (row) => final(row).value, csv: `${share}_report` },
    agrees(data) ? null : { title: "Against float", number: true, cell: (row) => points(against(row)), key: against, raw: against, csv: "accuracy_minus_float" },
    { title: "Calibrated only", number: true, cell: (row) => percent(calibrated(row)), key: calibrated, raw: calibrated, csv: `${share}_calibrated_report` },
    { title: "Predicted loss", number: true, cell: (row) => digits(row.predicted?.loss_increase), key: (row) => row.predicted?.loss_increase, raw: (row) => row.predicted?.loss_increase, csv: "predicted_loss_increase" },
    costColumn("latency", `Latency${provenance ? `, ${provenance}` : ""}`, "latency_s", target),
    ...(energy ? [costColumn("energy", "Energy", "energy_j", target)] : []),
    costColumn("size", "Size", "size_bytes", target),
    costColumn("bit-operations", "Bit operations", "bit_operations", target),
    bitsColumn("weights", "Mean W"), bitsColumn("activations", "Mean A"),
  ].filter(Boolean);
}

function costColumn(axis, title, csv, target) {
  const value = (row) => cost(row, axis, target);
  return { title, number: true, cell: (row) => quantity(axis, value(row)), key: value, raw: value, csv };
}

function bitsColumn(side, title) {
  const value = (row) => averageBits(row, side);
  return { title, number: true, cell: (row) => (isNumber(value(row)) ? value(row).toFixed(2) : "–"), key: value, raw: value, csv: `mean_${side}_bits` };
}

function pin(row, choices) {
  const place = choices.pins.indexOf(row.id);
  return h("button", { type: "button", class: "link nowrap", data: { key: `pin-${row.id}` }, "aria-pressed": String(place >= 0), onclick: () => choices.toggle(row.id) }, place >= 0 && choices.pins.length > 1 ? `${"AB"[place]} · ${row.name}` : row.name);
}

function stateOf(row, front) {
  if (row.problem) return h("span", { class: "bad", title: [row.problem.detail, row.problem.hint].filter(Boolean).join(" ") }, row.problem.code || "failed");
  return front?.has(row.point) ? chip("on the front") : row.state;
}
