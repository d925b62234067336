// How the training of a point went: its stages, its best epoch, why it stopped, what became of batch norms.
import { facts, h } from "../dom.js";
import { isNumber, percent } from "../format.js";

const STOPPED = { finished: "all epochs were done", patience: "no better on select for as long as the recipe waits", diverged: "it diverged" };

export function trainingWords(candidate) {
  const record = candidate.training;
  if (!record) return null;
  const epochs = candidate.history?.length ?? 0;
  const open = Boolean(record.diverged);
  return h("details", { class: "training-record", open }, h("summary", {}, summary(record, epochs)),
    facts([
      ["Best epoch", bestWords(record, candidate.history ?? [])],
      ["Stopped", record.stopped ? `after ${counted(epochs, "epoch")}: ${STOPPED[record.stopped] ?? record.stopped}` : null],
      ["Diverged", record.diverged ? h("span", { class: "bad" }, record.diverged) : null],
      ["Stages", record.stages?.length ? h("ol", { class: "stages" }, record.stages.map(stageWords)) : null],
      ["Blocks", record.block_order && record.block_order !== "together" ? record.block_order : null],
      ["Batch norms", record.batch_norm ?? null],
      ["First and last layer", record.first_last ?? null],
      ["Resumed", record.resumed_from_epoch ? `from epoch ${record.resumed_from_epoch}` : null],
    ]));
}

function summary(record, epochs) {
  const best = record.best_epoch ? `best epoch ${record.best_epoch} of ${epochs}` : `${counted(epochs, "epoch")}, none better than calibration`;
  return `Training: ${record.diverged ? "diverged, " : ""}${best}`;
}

function bestWords(record, history) {
  if (!record.best_epoch) return `none: the calibrated network was better on select (${percent(record.calibrated_select_accuracy)})`;
  const accuracy = history.find((one) => one.epoch === record.best_epoch)?.select_accuracy;
  return `${record.best_epoch}${isNumber(accuracy) ? `, ${percent(accuracy)} on select` : ""}${isNumber(record.calibrated_select_accuracy) ? `; ${percent(record.calibrated_select_accuracy)} before training` : ""}`;
}

function stageWords(stage) {
  const layers = stage.layers?.length ? `, ${counted(stage.layers.length, "layer")} changed` : "";
  return h("li", { title: stage.layers?.join(", ") || null }, `${stage.title}: ${counted(stage.epochs, "epoch")}${layers}`);
}

const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
