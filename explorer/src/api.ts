/** The server's answers as types, and the calls that bring them. Every failure is an `ApiError` with the server's words. */

import { signal } from "@preact/signals";
import { keep, kept } from "./storage";

export interface Model {
  model: string;
  space: { name: string; count: number; dimension: number; metric: string; columns: string[]; id_example: string; slot: string };
  layouts: string[];
  default_layout: string;
  users: boolean;
  version: string;
}

export interface Task {
  name: string;
  title: string;
  prompt: string;
  slots: string[];
}

export interface Entity {
  id: string;
  title: string | null;
}

export interface Neighbour extends Entity {
  /** In the space's metric; larger is nearer. */
  similarity: number;
}

export interface Geometry {
  label: string;
  /** An expression that names the same point. */
  point: string;
  hypothetical: boolean;
  /** Place on the map, 0..1; null where unknown. */
  x: number | null;
  y: number | null;
  /** Percentile 0..100. */
  distance: number | null;
  caution: string | null;
  neighbours: Neighbour[];
  words: string[];
  vector: number[];
  row: Record<string, unknown> | null;
}

export interface Quality {
  measure: string;
  /** 0..1; chance is 0.5. */
  value: number;
  p: number;
  examples: number;
}

export interface Concept {
  name: string;
  quality: Quality | null;
  saved: boolean;
}

export interface ClusterLabel {
  text: string;
  x: number;
  y: number;
  /** Entities in the cluster. */
  size: number;
}

export interface Trust {
  /** Cosine of the answer, encoded again, with the point; null without an encoder. */
  consistency: number | null;
  /** Percentile 0..100. */
  distance: number | null;
  caution: string | null;
  neighbours: Neighbour[];
}

export type PointQuery = { point: string } | { map: [number, number] };

export class ApiError extends Error {
  constructor(
    message: string,
    /** HTTP status; 0 where no answer came. */
    readonly status: number,
  ) {
    super(message);
  }
}

const TOKEN = "vecspeak-token";
let token = kept("sessionStorage", TOKEN);

/** True once the server has refused for want of a token, until one is given or declined. */
export const tokenWanted = signal(false);

export function saveToken(given: string): void {
  token = given;
  keep("sessionStorage", TOKEN, given);
  tokenWanted.value = false;
}

export const hasToken = (): boolean => token !== null;

export const model = (): Promise<Model> => json("api/model");
export const tasks = async (): Promise<Task[]> => (await json<{ tasks: Task[] }>("api/tasks")).tasks;
export const concepts = async (): Promise<Concept[]> => (await json<{ concepts: Concept[] }>("api/concepts")).concepts;

export function search(text: string, signal: AbortSignal): Promise<{ results: Entity[]; total: number }> {
  return json(`api/search?${new URLSearchParams({ q: text, limit: "20" })}`, { signal });
}

export function point(query: PointQuery, layout: string, signal: AbortSignal): Promise<Geometry> {
  return json("api/point", { ...posted({ ...query, layout }), signal });
}

export function fitConcept(fit: { name: string; positive: string[]; negative?: string[] }): Promise<Concept> {
  return json("api/concepts", posted(fit));
}

/** The map's table as Arrow IPC; `onWait` is called while the server still computes the layout. */
export async function space(layout: string, onWait: () => void): Promise<Uint8Array> {
  const response = await whenReady(`api/space?${new URLSearchParams({ layout })}`, onWait);
  return new Uint8Array(await response.arrayBuffer());
}

export async function labels(layout: string): Promise<ClusterLabel[]> {
  const response = await whenReady(`api/labels?${new URLSearchParams({ layout })}`, () => {});
  return (await response.json()).labels;
}

/** A call with the token and the server's own words on failure. */
export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const sent = token;
  if (sent) headers.set("Authorization", `Bearer ${sent}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is vecspeak serve still running?", 0);
  }
  if (response.ok) return response;
  // a refusal that comes late, after another token was given, is not of that one
  if (response.status === 401 && token === sent) tokenWanted.value = true;
  throw new ApiError(await reasonOf(response), response.status);
}

export function posted(body: unknown): RequestInit {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await call(path, init)).json();
}

async function whenReady(path: string, onWait: () => void): Promise<Response> {
  for (;;) {
    const response = await call(path);
    if (response.status !== 202) return response;
    onWait();
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

async function reasonOf(response: Response): Promise<string> {
  const body = await response.json().catch(() => null);
  if (response.status === 429) return "The server is busy: its queue is full. Ask again in a moment.";
  return body?.error?.message ?? `The server answered ${response.status} ${response.statusText}.`;
}
