import { showColour, showLayout } from "../actions";
import * as state from "../state";

const LAYOUT_NAMES: Record<string, string> = { umap: "UMAP", pca: "PCA", tsne: "t-SNE" };

export function Legend() {
  const model = state.model.value;
  const colouring = state.colouring.value;
  if (!model || !colouring) return null;
  const groups = colouring.groups.filter(({ name, count }) => name && count);
  return (
    <section class="legend" aria-label="Map and colours">
      <div class="choices">
        <label>
          Map
          <select value={state.layout.value} onChange={(event) => void showLayout(event.currentTarget.value)}>
            {model.layouts.map((layout) => <option key={layout} value={layout}>{LAYOUT_NAMES[layout] ?? layout}</option>)}
          </select>
        </label>
        <label>
          Colour
          <select value={state.colour.value ?? ""} onChange={(event) => showColour(event.currentTarget.value || null)}>
            {model.space.columns.map((column) => <option key={column} value={column}>{column}</option>)}
            <option value="">one colour</option>
          </select>
        </label>
      </div>
      <ul class={colouring.ordered ? "ordered" : ""}>
        {groups.map(({ name, colour, count }) => (
          <li key={name} title={`${name}: ${state.counted(count)}`}>
            <i style={{ backgroundColor: `var(${colour})` }} />
            <span>{name}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
