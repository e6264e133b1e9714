/** Points as the page makes them, and vecspeak's syntax for them (`296:356@0.5`, `296 + funny*1.5`). */

/** Where a point starts: an entity, or a made point that an expression names. */
export interface Place {
  expression: string;
  title: string;
  /** Null where no entity lives. */
  id: string | null;
  /** Where on a map it was chosen, 0..1; null where an entity's row or the server says. */
  at: { layout: string; x: number; y: number } | null;
}

/** What is asked about: a place, perhaps on the way to a second one, perhaps pushed along concepts. */
export interface Recipe {
  first: Place;
  second: Place | null;
  /** Of the way from the first to the second, 0..1. */
  share: number;
  /** Standard deviations by concept. */
  pushes: Readonly<Record<string, number>>;
}

// as `space.name_in_expression` has it
const PLAIN_NAME = /^[\p{L}\p{N}_.]+(?:[ -][\p{L}\p{N}_.]+)*$/u;

export function quoted(name: string): string {
  return PLAIN_NAME.test(name) ? name : `"${name.replace(/[\\"]/g, "\\$&")}"`;
}

export function placeOf(id: string, title: string | null): Place {
  return { expression: quoted(id), title: title ?? id, id, at: null };
}

export function isPlain(recipe: Recipe): boolean {
  return recipe.second === null && pushesOf(recipe).length === 0;
}

/** The recipe as text. */
export function expressionOf(recipe: Recipe): string {
  const start = startOf(recipe);
  const pushes = pushesOf(recipe).map(([name, size]) => `${size < 0 ? " - " : " + "}${quoted(name)}*${trimmed(Math.abs(size))}`);
  return pushes.length ? `${bracketed(start)}${pushes.join("")}` : start;
}

/** What a person calls it. */
export function titleOf(recipe: Recipe): string {
  const { first, second, share } = recipe;
  const percent = Math.round(share * 100);
  const start = !second || percent === 0 ? first.title : percent === 100 ? second.title : `${percent === 50 ? "Half way" : `${percent} %`} from ${first.title} to ${second.title}`;
  const pushes = pushesOf(recipe).map(([name, size]) => `${size > 0 ? "+" : "−"}${trimmed(Math.abs(size))} ${name}`);
  return [start, ...pushes].join(", ");
}

export function pushesOf(recipe: Recipe): [string, number][] {
  return Object.entries(recipe.pushes).filter(([, size]) => size !== 0);
}

/** Each of two points by itself, pushed as the whole is. */
export function endsOf({ first, second, pushes }: Recipe): Recipe[] {
  return [first, ...(second ? [second] : [])].map((place) => ({ first: place, second: null, share: 0, pushes }));
}

function startOf({ first, second, share }: Recipe): string {
  if (!second || share === 0) return first.expression;
  if (share === 1) return second.expression;
  return `${bracketed(first.expression)}:${bracketed(second.expression)}@${trimmed(share)}`;
}

const bracketed = (expression: string): string =>
  PLAIN_NAME.test(expression) || /^"(?:[^"\\]|\\.)*"$/.test(expression) ? expression : `(${expression})`;

const trimmed = (value: number): string => String(Math.round(value * 1000) / 1000);
