import * as state from "../state";
import type { Place } from "../points";
import { isPlain } from "../points";
import type { Seen } from "./MapView";
import type { Plot } from "./plot";

interface Mark {
  left: number;
  top: number;
  badge: string;
  title: string;
  kind: "asked" | "end" | "made";
}

/** The points chosen, the way between them, and what the pointer or the keyboard is at. */
export function Marks({ seen, hovered, cursor }: { seen: Seen; hovered: number | null; cursor: number | null }) {
  const { plot } = seen;
  const marks = chosenMarks(plot);
  const [first, second] = marks.filter(({ kind }) => kind === "end");
  const entities = state.entities.value!;
  const chosenId = state.recipe.value?.first.id ?? null;
  const pointed = cursor ?? (hovered !== null && entities.at(hovered).id === chosenId ? null : hovered);
  const tip = pointed === null ? null : { ...entities.at(pointed), place: plot.toScreen(entities.x[pointed]!, entities.y[pointed]!) };
  const side = (left: number, title: string) => (leftward(plot, left, title) ? "leftward" : "");
  return (
    <div class="marks" aria-hidden="true">
      {first && second && (
        <svg width="100%" height="100%">
          <line x1={first.left} y1={first.top} x2={second.left} y2={second.top} />
        </svg>
      )}
      {marks.map(({ left, top, badge, title, kind }) => (
        <div key={kind + badge} class={`mark ${kind} ${side(left, title)}`} style={{ transform: `translate(${left}px, ${top}px)` }}>
          <b>{badge}</b>
          {title && <span>{title}</span>}
        </div>
      ))}
      {tip && (
        <div
          class={`tip ${cursor === null ? "" : "cursor"} ${side(tip.place[0], tip.title ?? tip.id)}`}
          style={{ transform: `translate(${tip.place[0]}px, ${tip.place[1]}px)` }}
        >
          <span>{tip.title ?? tip.id}</span>
        </div>
      )}
    </div>
  );
}

/** CSS pixels that a letter of a mark's label takes, about, and the rest of the mark. */
const LETTER = 8;
const REST = 40;

/** The label goes to the left where the right has no room for it. */
const leftward = (plot: Plot, left: number, title: string): boolean => left + REST + LETTER * title.length > plot.box.width;

/** Boxes that the marks and their labels cover: left, top, right, bottom. */
export function coveredByMarks(plot: Plot): [number, number, number, number][] {
  return chosenMarks(plot).map(({ left, top, title }) => {
    const reach = title ? REST + LETTER * title.length : 12;
    return leftward(plot, left, title) ? [left - reach, top - 12, left + 12, top + 12] : [left - 12, top - 12, left + reach, top + 12];
  });
}

function chosenMarks(plot: Plot): Mark[] {
  const recipe = state.recipe.value;
  if (!recipe) return [];
  const { first, second, share } = recipe;
  const mark = (at: [number, number] | null, rest: Omit<Mark, "left" | "top">): Mark[] => {
    if (!at) return [];
    const [left, top] = plot.toScreen(...at);
    return [{ left, top, ...rest }];
  };
  const here = locatedAt();
  if (!second && isPlain(recipe)) return mark(placeAt(first) ?? here, { badge: "", title: first.title, kind: first.id === null ? "made" : "asked" });
  const [a, b] = [placeAt(first), second && placeAt(second)];
  const ends = [
    ...mark(a, { badge: second ? "1" : "", title: first.title, kind: "end" }),
    ...(second ? mark(b, { badge: "2", title: second.title, kind: "end" }) : []),
  ];
  if (state.comparing.value) return ends;
  const between: [number, number] | null = a && b ? [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share] : null;
  const pushed = Object.values(recipe.pushes).some((size) => size !== 0);
  return [...ends, ...mark(pushed ? here : (between ?? here), { badge: "", title: "", kind: "made" })];
}

function placeAt(place: Place): [number, number] | null {
  const entities = state.entities.value!;
  const row = place.id === null ? undefined : entities.rowOf(place.id);
  if (row !== undefined) return [entities.x[row]!, entities.y[row]!];
  return place.at?.layout === state.layout.value ? [place.at.x, place.at.y] : null;
}

function locatedAt(): [number, number] | null {
  const located = state.located.value;
  if (located.kind !== "known" || located.geometry.x === null || located.geometry.y === null) return null;
  return [located.geometry.x, located.geometry.y];
}
