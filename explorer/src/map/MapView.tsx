import { effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { choose, chooseGround, pick, select } from "../actions";
import { keepView, read } from "../permalink";
import * as state from "../state";
import { colourOf, repainted } from "../theme";
import { Covers } from "./Covers";
import { keyOnMap } from "./keys";
import { Labels } from "./Labels";
import { Legend } from "./Legend";
import { Marks } from "./Marks";
import { Plot } from "./plot";
import { SelectionBar, Tools } from "./Tools";

/** The map is seen anew: what lies over it follows. */
export interface Seen {
  plot: Plot;
  frame: number;
}

export function MapView() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const seen = useSignal<Seen | null>(null);
  const hovered = useSignal<number | null>(null);
  /** The entity that the keyboard stands on. */
  const cursor = useSignal<number | null>(null);
  /** The focus came by pointer and needs no ring. */
  const pointing = useSignal(false);
  const failure = useSignal("");

  useEffect(() => {
    let settling: ReturnType<typeof setTimeout>;
    const onView = () => {
      seen.value = { plot, frame: (seen.peek()?.frame ?? 0) + 1 };
      clearTimeout(settling);
      settling = setTimeout(() => state.loading.peek().kind === "ready" && keepView(plot.view), 300);
    };
    let plot: Plot;
    try {
      plot = new Plot(canvas.current!, {
        onHover: (row) => (hovered.value = row),
        onClick: (row, place, event) => clicked(row, place, event),
        onLasso: select,
        onView: () => plot && onView(),
      });
    } catch (error) {
      failure.value = `The map needs WebGL, which this browser does not offer (${error}). Search still works.`;
      return;
    }
    const stop = followState(plot);
    return () => {
      stop();
      plot.destroy();
    };
  }, []);

  const plot = seen.value?.plot ?? null;
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Shift" && event.key !== "Control") pointing.value = false;
    if (plot) keyOnMap(event, plot, cursor);
  };
  return (
    <div class={`map ${state.lassoing.value ? "lassoing" : ""} ${state.choosingSecond.value ? "choosing" : ""} ${hovered.value === null ? "" : "over"}`}>
      <div
        class={`ground ${pointing.value ? "pointing" : ""}`}
        tabIndex={0}
        role="application"
        aria-label={`Map of ${state.entities.value ? state.counted(state.entities.value.count) : "the space"}. Arrow keys go from one to the next, Enter asks.`}
        onPointerDown={() => (pointing.value = true)}
        onKeyDown={onKeyDown}
        onBlur={() => (cursor.value = null)}
      >
        <canvas ref={canvas} />
        {seen.value && state.entities.value && (
          <>
            <Labels seen={seen.value} />
            <Marks seen={seen.value} hovered={hovered.value} cursor={cursor.value} />
          </>
        )}
      </div>
      <Legend />
      {plot && <Tools plot={plot} />}
      <SelectionBar />
      <Covers failure={failure.value} />
    </div>
  );
}

function clicked(row: number | null, place: [number, number], event: MouseEvent): void {
  if (state.loading.value.kind !== "ready") return;
  if ((event.ctrlKey || event.metaKey) && state.recipe.value) state.choosingSecond.value = true;
  if (row === null) {
    const inside = place.every((value) => value > -0.06 && value < 1.06);
    if (inside) void chooseGround(place);
    return;
  }
  const { id, title } = state.entities.value!.at(row);
  if (event.altKey) pick(row);
  else choose(id, title);
}

/** The plot shows what the state says; returns what ends that. */
function followState(plot: Plot): () => void {
  let first = true;
  const wanted = read(location.search).view;
  const ends = [
    effect(() => {
      const entities = state.entities.value;
      const colouring = state.colouring.value;
      repainted.value;
      if (!entities || !colouring) return;
      const colours = { groups: colouring.groups.map(({ colour }) => colourOf(colour)), background: colourOf("--paper"), accent: colourOf("--accent") };
      void plot.draw({ x: entities.x, y: entities.y, groups: colouring.values, colours }).then(() => {
        if (first && wanted) plot.restore(wanted);
        first = false;
        plot.select(state.selection.peek());
        document.documentElement.dataset.map = "drawn";
      });
    }),
    effect(() => {
      const rows = state.selection.value;
      if (!first) plot.select(rows);
    }),
    effect(() => {
      const only = state.onlyGroup.value;
      if (!first) void plot.show(only);
    }),
    effect(() => void (plot.lasso = state.lassoing.value)),
    effect(() => {
      const geometry = state.located.value.kind === "known" ? state.located.value.geometry : null;
      if (geometry?.x != null && geometry.y != null) plot.reveal(geometry.x, geometry.y);
    }),
  ];
  return () => ends.forEach((end) => end());
}
