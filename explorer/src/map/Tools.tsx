import { chooseMiddle, fillGroup, select } from "../actions";
import { Icon } from "../icons";
import * as state from "../state";
import type { Plot } from "./plot";

/** Entities whose middle is asked about, at most: they all stand in the expression. */
const MOST = 200;

export function Tools({ plot }: { plot: Plot }) {
  const lassoing = state.lassoing.value;
  return (
    <div class="tools" role="toolbar" aria-label="Map tools">
      <button type="button" aria-pressed={lassoing} onClick={() => (state.lassoing.value = !lassoing)} aria-label="Lasso" title="Lasso (Shift + drag)">
        <Icon name="lasso" />
      </button>
      <button type="button" onClick={() => plot.zoom(1.6)} aria-label="Nearer" title="Nearer (+)">
        <Icon name="plus" />
      </button>
      <button type="button" onClick={() => plot.zoom(1 / 1.6)} aria-label="Farther" title="Farther (−)">
        <Icon name="minus" />
      </button>
      <button type="button" onClick={() => plot.zoom()} aria-label="The whole map" title="The whole map (0)">
        <Icon name="whole" />
      </button>
    </div>
  );
}

/** What can be done with the entities of a lasso or of picks. */
export function SelectionBar() {
  const rows = state.selection.value;
  const entities = state.entities.value;
  if (state.choosingSecond.value) {
    return (
      <div class="bar" role="status">
        <span>Choose the second point, on the map or by search</span>
        <button type="button" class="link" onClick={() => (state.choosingSecond.value = false)}>Cancel</button>
      </div>
    );
  }
  if (state.lassoing.value) {
    return (
      <div class="bar" role="status">
        <span>Draw around some {state.nounFor(2)}</span>
        <button type="button" class="link" onClick={() => (state.lassoing.value = false)}>Cancel</button>
      </div>
    );
  }
  if (!rows.length || !entities) return null;
  const ids = rows.map((row) => entities.at(row).id);
  return (
    <div class="bar" role="group" aria-label="Selection">
      <span>{state.counted(rows.length)} selected</span>
      <small>For a concept:</small>
      <button type="button" onClick={() => fillGroup("more", ids)}>More of it</button>
      <button type="button" onClick={() => fillGroup("less", ids)}>Less of it</button>
      {rows.length > 1 && rows.length <= MOST && <button type="button" onClick={() => chooseMiddle(ids)}>Ask their middle</button>}
      <button type="button" class="quiet" onClick={() => select([])} aria-label="Clear the selection"><Icon name="close" /></button>
    </div>
  );
}
