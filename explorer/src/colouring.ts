/** Colour by a column: each entity's group, and the legend. Groups are style sheet colours: --g0..--g5, --none, --s0..--s6. */

import type { Entities } from "./entities";

export interface Colouring {
  /** Group of each entity, an index into `groups`. */
  values: Uint8Array;
  groups: Group[];
  /** Whether the groups are steps from low to high. */
  ordered: boolean;
}

export interface Group {
  name: string;
  /** Name of the custom property that holds its colour. */
  colour: string;
  count: number;
}

const MAIN_GROUPS = 6;
const STEPS = 7;
/** What the server writes for an entity without a value. */
const MISSING = "(none)";

export function colourBy(entities: Entities, column: string | null): Colouring {
  if (column === null) {
    return { values: new Uint8Array(entities.count), groups: [{ name: "", colour: "--plain", count: entities.count }], ordered: false };
  }
  const values = entities.column(column);
  return values instanceof Float32Array || values instanceof Float64Array || Array.from(values).some((value) => typeof value === "number")
    ? bySteps(Float64Array.from(values as ArrayLike<number | null>, (value) => value ?? Number.NaN))
    : byCategory(Array.from(values, (value) => (value === null || value === undefined || value === MISSING ? null : String(value))));
}

/** The largest categories get a colour each, the rest share one. */
function byCategory(values: (string | null)[]): Colouring {
  const counts = new Map<string, number>();
  for (const value of values) if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
  const largest = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MAIN_GROUPS);
  const place = new Map(largest.map(([name], number) => [name, number]));
  const groups = largest.map(([name], number) => ({ name, colour: `--g${number}`, count: 0 }));
  groups.push({ name: counts.size > MAIN_GROUPS ? "other" : "none", colour: "--none", count: 0 });
  return counted({ values: Uint8Array.from(values, (value) => (value === null ? largest.length : (place.get(value) ?? largest.length))), groups, ordered: false });
}

/** Steps that hold about as many entities each, so that one outlier does not flatten the rest. */
function bySteps(values: Float64Array): Colouring {
  const known = values.filter((value) => !Number.isNaN(value)).sort();
  const edges = Array.from({ length: STEPS - 1 }, (_, step) => known[Math.floor(((step + 1) * known.length) / STEPS)] ?? 0);
  const ends = [known[0] ?? 0, ...edges, known[known.length - 1] ?? 0];
  const groups = Array.from({ length: STEPS }, (_, step) => ({ name: `${short(ends[step]!)} to ${short(ends[step + 1]!)}`, colour: `--s${step}`, count: 0 }));
  groups.push({ name: "none", colour: "--none", count: 0 });
  return counted({ values: Uint8Array.from(values, (value) => (Number.isNaN(value) ? STEPS : edges.filter((edge) => value >= edge).length)), groups, ordered: true });
}

function counted(colouring: Colouring): Colouring {
  for (const value of colouring.values) colouring.groups[value]!.count += 1;
  return colouring;
}

const short = (value: number): string => (Number.isInteger(value) ? String(value) : value.toPrecision(3));
