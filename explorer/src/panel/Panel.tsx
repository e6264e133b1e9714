import * as state from "../state";
import { ConceptsTab } from "./ConceptsTab";
import { HistoryTab } from "./HistoryTab";
import { PointTab } from "./PointTab";

const TABS = [
  ["point", "Point"],
  ["concepts", "Concepts"],
  ["history", "History"],
] as const;

export function Panel() {
  const open = state.tab.value;
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = TABS[(TABS.findIndex(([name]) => name === open) + step + TABS.length) % TABS.length]![0];
    state.tab.value = next;
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <aside class="panel" aria-label="Point, concepts and history">
      <div class="tabs" role="tablist" aria-label="Panel" onKeyDown={onKeyDown}>
        {TABS.map(([name, title]) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`tab-${name}`}
            aria-selected={open === name}
            aria-controls="sheet"
            tabIndex={open === name ? 0 : -1}
            onClick={() => (state.tab.value = name)}
          >
            {title}
            {name === "history" && state.history.value.length > 0 && <small>{state.history.value.length}</small>}
          </button>
        ))}
      </div>
      <div id="sheet" class="sheet" role="tabpanel" aria-labelledby={`tab-${open}`} tabIndex={-1}>
        {open === "point" ? <PointTab /> : open === "concepts" ? <ConceptsTab /> : <HistoryTab />}
      </div>
    </aside>
  );
}
