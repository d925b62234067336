// The images that a job without data was run on: what they look like, and what they are.
import { facts, fill, h } from "../dom.js";
import { digits, duration, isNumber, percent } from "../format.js";

const WHAT = {
  distilled: "No data was given. These images were distilled from the network: noise, changed until every batch norm finds in it the statistics it learned in training. They show nothing; they excite the network as its data did.",
  generator: "No data was given. These images were drawn by a small network that learned to match the statistics of the batch norms and to be sure of a class. They show nothing.",
  "range-noise": "No data was given, and these images are noise in the range of the pixels. Noise excites a network unlike photographs do: read every figure of this job as a rough guess, and upload at least 32 unlabelled images for better ones.",
};

export function showImages(root, data) {
  const made = data.report?.synthesis;
  root.hidden = !made;
  if (!made) return;
  const [sheet, all] = ["contact-sheet", "synthetic-images"].map((kind) => data.artifacts.find((file) => file.kind === kind));
  const key = `${sheet?.id}`;
  if (root.dataset.shown === key) return;
  root.dataset.shown = key;
  const noise = made.source === "range-noise";
  fill(root,
    h("header", { class: "panel-head" }, h("h2", {}, noise ? "Noise in place of data" : made.title), h("div", { class: "controls" }, all ? h("a", { class: "button quiet small", href: `/artifacts/${all.id}`, download: all.filename, title: "train_x, val_x and test_x; can be uploaded as a data set without labels" }, "images.npz") : null)),
    h("div", { class: "made" },
      sheet ? h("img", { class: "contact-sheet", src: `/artifacts/${sheet.id}`, alt: `${made.shown} of the images that ranges are taken from: coloured noise with faint structure` }) : null,
      h("div", {},
        h("p", { class: noise ? "notice warn" : "" }, WHAT[made.source] ?? ""),
        h("p", {}, `Labels are what the float network says of them, so every figure here is agreement with the float network, not accuracy. Points were chosen by ${made.counts.select} further images and are reported on ${made.counts.report} more, made apart from those that ranges were taken from.`),
        facts([
          ["Images", `${made.counts.train} for ranges and training, ${made.counts.select} to choose by, ${made.counts.report} to report on`],
          ["Statistics", isNumber(made.statistics_loss) ? statisticsWords(made) : null],
          ["Float network", `${percent(made.confidence)} sure on average; ${made.predicted_classes.filter(Boolean).length} of ${made.predicted_classes.length} classes occur`],
          ["Made in", `${duration(made.seconds)}, seed ${made.seed}`],
          ["Notes", made.notes.join("; ")],
        ]))));
}

function statisticsWords(made) {
  const ratio = made.noise_statistics_loss / made.statistics_loss;
  const distance = `distance ${digits(made.statistics_loss)} from what ${made.batch_norms} batch norms hold`;
  return ratio > 1.5 ? `${distance}, ${digits(ratio, 2)} times closer than noise (${digits(made.noise_statistics_loss)})` : `${distance}; noise has ${digits(made.noise_statistics_loss)}`;
}
