import { showColour, showLayout } from "../actions";
import * as state from "../state";

const LAYOUT_NAMES: Record<string, string> = { umap: "UMAP", pca: "PCA", tsne: "t-SNE" };

export const layoutName = (layout: string): string => LAYOUT_NAMES[layout] ?? layout;

export function Legend() {
  const model = state.model.value;
  const colouring = state.colouring.value;
  if (!model || !colouring) return null;
  const groups = colouring.groups.map((group, number) => ({ ...group, number })).filter(({ name, count }) => name && count);
  const only = state.onlyGroup.value;
  return (
    <section class="legend" aria-label="Map and colours">
      <div class="choices">
        <label>
          <span>Map</span>
          <select aria-label="Map" value={state.layout.value} onChange={(event) => void showLayout(event.currentTarget.value)}>
            {model.layouts.map((layout) => <option key={layout} value={layout}>{layoutName(layout)}</option>)}
          </select>
        </label>
        <label>
          <span>Colour</span>
          <select aria-label="Colour" value={state.colour.value ?? ""} onChange={(event) => showColour(event.currentTarget.value || null)}>
            {model.space.columns.map((column) => <option key={column} value={column}>{column}</option>)}
            <option value="">one colour</option>
          </select>
        </label>
      </div>
      <ul class={only === null ? "" : "narrowed"}>
        {groups.map(({ name, colour, count, number }) => (
          <li key={name}>
            <button type="button" aria-pressed={only === number} title={`${state.counted(count)}; click to see only these`} onClick={() => (state.onlyGroup.value = only === number ? null : number)}>
              <i style={{ backgroundColor: `var(${colour})` }} />
              {name}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
