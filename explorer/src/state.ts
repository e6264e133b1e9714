/** What the page knows, as signals. Only `actions.ts` and the files beside it write them. */

import { computed, signal } from "@preact/signals";
import type { ClusterLabel, Concept, Geometry, Model, Task, Trust } from "./api";
import { colourBy, type Colouring } from "./colouring";
import type { Entities } from "./entities";
import type { ChatRequest } from "./chat";
import { endsOf, titleOf, type Recipe } from "./points";

export type Loading = { kind: "starting" } | { kind: "computing"; layout: string } | { kind: "failed"; message: string } | { kind: "ready" };

export type Located = { kind: "none" } | { kind: "busy" } | { kind: "known"; geometry: Geometry } | { kind: "failed"; message: string };

export interface Answer {
  prompt: string;
  request: ChatRequest;
  text: string;
  status: "streaming" | "done" | "stopped" | "failed";
  trust: Trust | null;
  /** Why it failed. */
  reason: string;
}

/** An answer of the history; also a row of the export. */
export interface Asked {
  /** ISO time. */
  at: string;
  subject: string;
  /** Expression of the point or points. */
  point: string;
  prompt: string;
  text: string;
  trust: Trust;
  /** The page's address then, from the question mark on. */
  link: string;
}

export type Side = "more" | "less";

export const model = signal<Model | null>(null);
export const tasks = signal<Task[]>([]);
export const concepts = signal<Concept[]>([]);
export const loading = signal<Loading>({ kind: "starting" });

export const layout = signal("");
/** As chosen: empty for one colour, null while nothing is chosen. */
export const wantedColour = signal<string | null>(null);
export const entities = signal<Entities | null>(null);
export const labels = signal<ClusterLabel[]>([]);
/** Where nothing is chosen, the first column of a few categories: they tell more apart than numbers do. */
export const colour = computed((): string | null => {
  const columns = model.value?.space.columns ?? [];
  if (wantedColour.value === "") return null;
  if (wantedColour.value !== null && columns.includes(wantedColour.value)) return wantedColour.value;
  const known = entities.value;
  return columns.find((name) => known && telling(colourBy(known, name))) ?? columns[0] ?? null;
});
export const colouring = computed(() => (entities.value ? colourBy(entities.value, colour.value) : null));

/** The one group of the colouring that is shown; null for all. */
export const onlyGroup = signal<number | null>(null);

export const recipe = signal<Recipe | null>(null);
/** Both points are asked about at once, instead of one between them. */
export const comparing = signal(false);
/** The next entity or place chosen is the second point. */
export const choosingSecond = signal(false);
export const located = signal<Located>({ kind: "none" });
export const answer = signal<Answer | null>(null);
export const history = signal<Asked[]>([]);

/** Rows of the lasso and of single picks. */
export const selection = signal<number[]>([]);
export const groups = signal<Record<Side, string[]>>({ more: [], less: [] });
export const lassoing = signal(false);

export const tab = signal<"point" | "concepts" | "history">("point");
/** Read out by a screen reader. */
export const announcement = signal("");
/** Shown over the page; empty for nothing. */
export const notice = signal("");

export const slot = computed(() => model.value?.space.slot ?? "entity");
export const subject = computed(() => {
  const now = recipe.value;
  if (!now) return "";
  return comparing.value ? endsOf(now).map(titleOf).join(" and ") : titleOf(now);
});
/** Tasks that fit what is chosen: of two points when two are compared. */
export const fittingTasks = computed(() => tasks.value.filter((task) => task.slots.length === (comparing.value ? 2 : 1)));

const telling = ({ groups, ordered }: Colouring): boolean => !ordered && groups.filter(({ count }) => count).length > 2;

export const nounFor = (count: number): string => {
  const noun = slot.value;
  return count === 1 ? noun : /(?:s|x|z|ch|sh)$/.test(noun) ? `${noun}es` : /[^aeiou]y$/.test(noun) ? `${noun.slice(0, -1)}ies` : `${noun}s`;
};
export const counted = (count: number): string => `${count.toLocaleString("en")} ${nounFor(count)}`;
