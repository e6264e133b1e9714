/** The map by keyboard: a cursor that goes from entity to entity. */

import type { Signal } from "@preact/signals";
import { choose, chooseGround, pick, say } from "../actions";
import * as state from "../state";
import type { Plot } from "./plot";

const WAYS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function keyOnMap(event: KeyboardEvent, plot: Plot, cursor: Signal<number | null>): void {
  const entities = state.entities.value;
  if (!entities || event.ctrlKey || event.metaKey || event.altKey) return;
  const way = WAYS[event.key];
  if (way) {
    cursor.value = next(plot, cursor.value, way);
    if (cursor.value !== null) {
      const { id, title } = entities.at(cursor.value);
      plot.reveal(entities.x[cursor.value]!, entities.y[cursor.value]!);
      say(title ?? id);
    }
  } else if (event.key === "Enter" && cursor.value !== null) {
    const { id, title } = entities.at(cursor.value);
    choose(id, title);
  } else if (event.key === "a" && cursor.value !== null) {
    pick(cursor.value);
  } else if (event.key === "g") {
    void chooseGround(plot.toMap(plot.box.width / 2, plot.box.height / 2));
  } else if (event.key === "+" || event.key === "=") {
    plot.zoom(1.5);
  } else if (event.key === "-") {
    plot.zoom(1 / 1.5);
  } else if (event.key === "0") {
    plot.zoom();
  } else {
    return;
  }
  event.preventDefault();
}

/** From where the cursor stands, or from the chosen entity, or from the middle of what is seen. */
function next(plot: Plot, cursor: number | null, way: [number, number]): number | null {
  const entities = state.entities.value!;
  const chosen = state.recipe.value?.first.id;
  const row = cursor ?? (chosen ? entities.rowOf(chosen) : undefined);
  const everywhere = plot.box.width + plot.box.height;
  if (row === undefined) return plot.nearest(plot.box.width / 2, plot.box.height / 2, everywhere);
  const [left, top] = plot.toScreen(entities.x[row]!, entities.y[row]!);
  return plot.nearest(left, top, everywhere, way) ?? row;
}
