/** The page's state in its address, so that a link shows what its sender saw. */

import type { View } from "./map/plot";
import type { Place, Recipe } from "./points";
import { placeOf, pushesOf } from "./points";
import * as state from "./state";

/** Set by the map; undefined while the whole map is seen. */
let view: View | undefined;

export interface Wanted {
  recipe: Recipe | null;
  comparing: boolean;
  prompt: string | null;
  layout: string | null;
  /** Empty for one colour. */
  colour: string | null;
  view: View | null;
}

export function keepView(now: View): void {
  const whole = Math.abs(now[0]) < 0.01 && Math.abs(now[1]) < 0.01 && Math.abs(now[2] - 1) < 0.01;
  view = whole ? undefined : now;
  write();
}

export function write(): void {
  if (state.model.value) history.replaceState(null, "", link() || location.pathname);
}

/** The address of the state as it is, from the question mark on. */
export function link(): string {
  const now = state.recipe.value;
  const found = new URLSearchParams();
  const set = (name: string, value: string | null | undefined) => value && found.set(name, value);
  if (now) {
    setPlace(found, "point", now.first);
    if (now.second) {
      setPlace(found, "to", now.second);
      found.set("share", String(Math.round(now.share * 1000) / 1000));
      if (state.comparing.value) found.set("compare", "1");
    }
    set("push", pushesOf(now).map(([name, size]) => `${name}:${Math.round(size * 100) / 100}`).join(","));
    set("ask", state.answer.value?.prompt);
  }
  if (state.layout.value !== state.model.value?.default_layout) set("layout", state.layout.value);
  if (state.wantedColour.value !== null) found.set("colour", state.wantedColour.value);
  set("view", view?.map((value) => value.toFixed(3)).join(","));
  const text = found.toString();
  return text && `?${text}`;
}

export function read(search: string): Wanted {
  const found = new URLSearchParams(search);
  const first = placeFrom(found, "point");
  const share = Number(found.get("share") ?? 0.5);
  const numbers = found.get("view")?.split(",").map(Number) ?? [];
  return {
    recipe: first && {
      first,
      second: placeFrom(found, "to"),
      share: share >= 0 && share <= 1 ? share : 0.5,
      pushes: Object.fromEntries(pushesFrom(found.get("push") ?? "")),
    },
    comparing: found.get("compare") === "1",
    prompt: found.get("ask"),
    layout: found.get("layout"),
    colour: found.get("colour"),
    view: numbers.length === 3 && numbers.every(Number.isFinite) && numbers[2]! > 0 ? (numbers as View) : null,
  };
}

/** An entity is written as its id; what is none carries the title it had. */
function setPlace(found: URLSearchParams, name: string, place: Place): void {
  found.set(name, place.id ?? place.expression);
  if (place.id === null) found.set(`${name}-title`, place.title);
}

function placeFrom(found: URLSearchParams, name: string): Place | null {
  const value = found.get(name);
  if (!value) return null;
  const title = found.get(`${name}-title`);
  return title === null ? placeOf(value, null) : { expression: value, title, id: null, at: null };
}

function pushesFrom(text: string): [string, number][] {
  return text
    .split(",")
    .map((push): [string, number] => [push.slice(0, push.lastIndexOf(":")), Number(push.slice(push.lastIndexOf(":") + 1))])
    .filter(([name, size]) => name !== "" && Number.isFinite(size));
}
