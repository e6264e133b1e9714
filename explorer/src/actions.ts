/** What a person can do. Each action sets the state and asks the server for what follows from it. */

import { batch } from "@preact/signals";
import * as api from "./api";
import { ask as askServer, partOf, requestOf, slotsOf, withSlots } from "./chat";
import { Entities } from "./entities";
import { recall, remember } from "./history";
import { link, read, write, type Wanted } from "./permalink";
import { endsOf, expressionOf, isPlain, placeOf, titleOf, type Place, type Recipe } from "./points";
import * as state from "./state";

let asking = new AbortController();
let locating = new AbortController();
/** The layout whose places are shown. */
let shown = "";
/** The page's address as it was opened, until there is a table to show it with. */
let awaited: Wanted | null = null;

const NOTICE_MS = 8000;
let fading: ReturnType<typeof setTimeout>;

/** Reads the space and puts the page into the state of its address. */
export async function start(): Promise<void> {
  state.loading.value = { kind: "starting" };
  try {
    const [model, tasks, concepts] = await Promise.all([api.model(), api.tasks(), api.concepts()]);
    const wanted = (awaited = read(location.search));
    batch(() => {
      state.model.value = model;
      state.tasks.value = tasks;
      state.concepts.value = concepts;
      state.wantedColour.value = wanted.colour;
    });
    recall();
    const layout = model.layouts.includes(wanted.layout ?? "") ? wanted.layout! : model.default_layout;
    await showLayout(layout);
  } catch (error) {
    state.loading.value = { kind: "failed", message: reasonOf(error) };
  }
}

/** Shows the space in a layout, unless another is chosen before its places have come. */
export async function showLayout(layout: string): Promise<void> {
  state.layout.value = layout;
  try {
    const bytes = await api.space(layout, () => {
      if (state.layout.value === layout) state.loading.value = { kind: "computing", layout };
    });
    if (state.layout.value !== layout) return;
    const entities = new Entities(bytes);
    shown = layout;
    batch(() => {
      state.entities.value = entities;
      state.labels.value = [];
      state.loading.value = { kind: "ready" };
    });
    const wanted = awaited;
    awaited = null;
    if (state.recipe.value) void locate();
    else if (wanted?.recipe) void reopen(wanted);
    write();
    void showLabels(layout);
  } catch (error) {
    if (state.layout.value !== layout) return;
    if (!state.entities.value) return void (state.loading.value = { kind: "failed", message: reasonOf(error) });
    batch(() => {
      state.layout.value = shown;
      state.loading.value = { kind: "ready" };
    });
    tell(reasonOf(error));
  }
}

export function showColour(column: string | null): void {
  batch(() => {
    state.onlyGroup.value = null;
    state.wantedColour.value = column ?? "";
  });
  write();
}

/** An entity is chosen: as the first point, or the second where one is awaited. */
export function choose(id: string, title: string | null): void {
  take(placeOf(id, title));
}

/** Nobody lives there: the point is what the entities around it have in common. */
export async function chooseGround(place: [number, number]): Promise<void> {
  state.tab.value = "point";
  state.located.value = { kind: "busy" };
  const layout = state.layout.value;
  try {
    const geometry = await api.point({ map: place }, layout, fresh("locating"));
    const near = geometry.neighbours[0];
    const title = near ? `Empty ground near ${near.title ?? near.id}` : "Empty ground";
    const at = { layout, x: place[0], y: place[1] };
    take({ expression: geometry.point, title, id: null, at });
  } catch (error) {
    if (isAbort(error)) return;
    state.located.value = { kind: "failed", message: reasonOf(error) };
    if (!state.recipe.value) tell(reasonOf(error));
  }
}

/** The middle of several entities. */
export function chooseMiddle(ids: string[]): void {
  const parts = ids.map((id) => placeOf(id, null).expression);
  take({ expression: `mean(${parts.join(",")})`, title: `The middle of ${state.counted(ids.length)}`, id: null, at: null });
}

function take(place: Place): void {
  const now = state.recipe.value;
  batch(() => {
    state.tab.value = "point";
    if (state.choosingSecond.value && now) {
      state.recipe.value = { ...now, second: place, share: 0.5 };
    } else {
      state.recipe.value = { first: place, second: null, share: 0.5, pushes: {} };
      state.comparing.value = false;
    }
    state.choosingSecond.value = false;
  });
  settle();
}

/** Changes the point without asking yet, as while a slider moves. */
export function adjust(change: Partial<Recipe>): void {
  if (state.recipe.value) state.recipe.value = { ...state.recipe.value, ...change };
}

/** The point stays as it is now: find it on the map and ask. */
export function settle(): void {
  void locate();
  void ask(promptNow());
}

export function compare(on: boolean): void {
  state.comparing.value = on;
  settle();
}

export function dropSecond(): void {
  batch(() => {
    state.comparing.value = false;
    adjust({ second: null });
  });
  settle();
}

export function close(): void {
  asking.abort();
  locating.abort();
  batch(() => {
    state.recipe.value = null;
    state.answer.value = null;
    state.comparing.value = false;
    state.choosingSecond.value = false;
    state.located.value = { kind: "none" };
  });
  write();
}

/** Puts a question, in the words of a task or the person's own, to the point chosen. */
export async function ask(question: string): Promise<void> {
  const recipe = state.recipe.value;
  const model = state.model.value;
  if (!recipe || !model) return;
  const signal = fresh("asking");
  const prompt = withSlots(question.trim(), state.comparing.value ? ["first", "second"] : [state.slot.value]);
  const points = pointsFor(recipe, slotsOf(prompt));
  const request = requestOf(model.model, prompt, points.map(partOf));
  state.answer.value = { prompt, request, text: "", status: "streaming", trust: null, reason: "" };
  write();
  // as they are now: a slider may move while the answer comes
  const asked = { subject: points.map(titleOf).join(" and "), point: points.map(expressionOf).join(" | "), prompt, link: link() };
  const update = (change: Partial<state.Answer>) => {
    if (!signal.aborted) state.answer.value = { ...state.answer.value!, ...change };
  };
  try {
    const trust = await askServer(request, (piece) => update({ text: state.answer.value!.text + piece }), signal);
    update({ status: "done", trust });
    if (signal.aborted) return;
    const text = state.answer.value!.text;
    remember({ ...asked, at: new Date().toISOString(), text, trust });
    say(`Answer: ${text}`);
  } catch (error) {
    if (!isAbort(error)) update({ status: "failed", reason: reasonOf(error) });
  }
}

export function stop(): void {
  asking.abort();
  if (state.answer.value) state.answer.value = { ...state.answer.value, status: "stopped" };
}

export function select(rows: number[]): void {
  batch(() => {
    state.selection.value = rows;
    state.lassoing.value = false;
  });
  if (rows.length) say(`${state.counted(rows.length)} selected`);
}

/** Adds an entity to the selection, or takes it out. */
export function pick(row: number): void {
  const rows = state.selection.value;
  select(rows.includes(row) ? rows.filter((other) => other !== row) : [...rows, row]);
}

export function fillGroup(side: state.Side, ids: string[]): void {
  const other: state.Side = side === "more" ? "less" : "more";
  batch(() => {
    state.groups.value = { ...state.groups.value, [side]: ids, [other]: state.groups.value[other].filter((id) => !ids.includes(id)) };
    state.tab.value = "concepts";
    state.selection.value = [];
  });
}

/** Throws ApiError, as when the concept is no better than chance. */
export async function fitConcept(name: string): Promise<api.Concept> {
  const { more, less } = state.groups.value;
  const concept = await api.fitConcept({ name, positive: more, ...(less.length ? { negative: less } : {}) });
  batch(() => {
    state.concepts.value = [...state.concepts.value.filter((known) => known.name !== name), concept];
    state.groups.value = { more: [], less: [] };
  });
  return concept;
}

/** Back to a state kept in an address: of this page, or of an answer in the history. */
export async function reopen(wanted: Wanted): Promise<void> {
  batch(() => {
    state.recipe.value = wanted.recipe && named(wanted.recipe);
    state.comparing.value = wanted.comparing && wanted.recipe?.second != null;
    state.tab.value = "point";
  });
  void locate();
  await ask(wanted.prompt ?? promptNow());
}

/** For who does not see the page. */
export const say = (text: string): void => {
  state.announcement.value = text;
};

/** For everybody, for a while. */
export function tell(text: string): void {
  say(text);
  state.notice.value = text;
  clearTimeout(fading);
  fading = setTimeout(() => (state.notice.value = ""), NOTICE_MS);
}

/** The question that stands, where it fits what is chosen now; else the first task that does. */
function promptNow(): string {
  const standing = state.answer.value?.prompt;
  const wanted = state.comparing.value ? 2 : 1;
  if (standing && slotsOf(standing).length === wanted) return standing;
  const tasks = state.fittingTasks.value;
  if (wanted === 1) return tasks[0]?.prompt ?? `Describe {${state.slot.value}}.`;
  return tasks.find(({ prompt }) => /differ|compare|common/i.test(prompt))?.prompt ?? "How does {first} differ from {second}?";
}

/** What the slots of a question stand for, in their order: the point, or of two that are compared each by itself. */
function pointsFor(recipe: Recipe, slots: string[]): Recipe[] {
  if (!state.comparing.value && slots.length < 2) return [recipe];
  const ends = endsOf(recipe);
  return (slots[0] === "second" ? ends.reverse() : ends).slice(0, slots.length);
}

async function locate(): Promise<void> {
  const recipe = state.recipe.value;
  if (!recipe) return;
  const signal = fresh("locating");
  if (state.located.value.kind !== "known" || isPlain(recipe)) state.located.value = { kind: "busy" };
  try {
    const geometry = await api.point({ point: expressionOf(recipe) }, state.layout.value, signal);
    state.located.value = { kind: "known", geometry };
  } catch (error) {
    if (!isAbort(error)) state.located.value = { kind: "failed", message: reasonOf(error) };
  }
}

async function showLabels(layout: string): Promise<void> {
  const labels = await api.labels(layout).catch(() => []);
  if (state.layout.value === layout) state.labels.value = labels;
}

/** Places of an address carry no title where they are entities. */
function named(recipe: Recipe): Recipe {
  const title = (place: Place): Place => {
    const row = place.id === null ? undefined : state.entities.value?.rowOf(place.id);
    return row === undefined ? place : placeOf(place.id!, state.entities.value!.at(row).title);
  };
  return { ...recipe, first: title(recipe.first), second: recipe.second && title(recipe.second) };
}

/** Ends what runs of this kind, and gives the signal for the next. */
function fresh(kind: "asking" | "locating"): AbortSignal {
  const next = new AbortController();
  if (kind === "asking") {
    asking.abort();
    asking = next;
  } else {
    locating.abort();
    locating = next;
  }
  return next.signal;
}

const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";
const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
