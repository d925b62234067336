// All networks, and uploading one.
import "../start.js";
import { all, get } from "../api.js";
import { byId, h, stateChip } from "../dom.js";
import { moment, quantity, shape } from "../format.js";
import { emptyState, liveList } from "../lists.js";
import { guarded } from "../notices.js";
import { Table } from "../table.js";
import { MODEL, Uploader } from "../uploads.js";

const COLUMNS = [
  { title: "Model", heading: true, class: "name", cell: (model) => h("a", { href: `/ui/models/${model.id}` }, model.name), key: (model) => model.name },
  { title: "State", cell: (model) => [stateChip(model.state), model.problem ? h("p", { class: "small bad" }, model.problem.detail) : null], key: (model) => model.state },
  { title: "Kind", cell: (model) => [model.kind, model.architecture].filter(Boolean).join(", "), key: (model) => model.kind },
  { title: "Input", class: "nowrap", cell: (model) => shape(model.input_shape) || "–" },
  { title: "Layers", number: true, cell: (model) => String(model.layer_count ?? "–"), key: (model) => model.layer_count },
  { title: "Parameters", number: true, cell: (model) => quantity("count", model.total_parameters), key: (model) => model.total_parameters },
  { title: "MACs", number: true, cell: (model) => quantity("count", model.total_macs), key: (model) => model.total_macs },
  { title: "File", number: true, cell: (model) => quantity("size", model.size_bytes), key: (model) => model.size_bytes },
  { title: "Added", cell: (model) => moment(model.created_at), key: (model) => model.created_at },
];

const table = new Table(byId("list"), COLUMNS, { caption: "Models" });

function show(models) {
  byId("list").className = models.length ? "panel scroll" : "";
  if (models.length) table.show(models);
  else emptyState(byId("list"), null, ["No model yet. A model is a trained network: its layers are listed here once it has been read."]);
}

const again = liveList(byId("list"), () => all("/models"), show, (models) => models.some((model) => model.state === "inspecting"));
await guarded(async () => {
  const { architectures } = await get("/methods");
  const refresh = await again;
  new Uploader(byId("upload"), MODEL, { architectures, onAdded: refresh, onReady: refresh });
});
