/** Answers asked for, newest first: kept in this browser, exported as CSV and Parquet. */

import type { Asked } from "./state";
import * as state from "./state";
import { keep, kept } from "./storage";

/** Kept at most; the oldest go first. */
export const KEPT = 200;

export function remember(asked: Asked): void {
  hold([asked, ...state.history.value].slice(0, KEPT));
}

export function forget(): void {
  hold([]);
}

export function recall(): void {
  try {
    state.history.value = JSON.parse(kept("localStorage", place()) ?? "[]");
  } catch {
    state.history.value = [];
  }
}

function hold(all: Asked[]): void {
  state.history.value = all;
  keep("localStorage", place(), JSON.stringify(all));
}

const place = (): string => `vecspeak-history-${state.model.value?.model}-${state.model.value?.space.name}`;

interface Row {
  asked_at: string;
  point: string;
  title: string;
  prompt: string;
  answer: string;
  consistency: number | null;
  distance: number | null;
  caution: string | null;
  nearest: string;
}

const NAMES = ["asked_at", "point", "title", "prompt", "answer", "consistency", "distance", "caution", "nearest"] as const;

function rows(): Row[] {
  return state.history.value.map(({ at, point, subject, prompt, text, trust }) => ({
    asked_at: at,
    point,
    title: subject,
    prompt,
    answer: text,
    consistency: trust.consistency,
    distance: trust.distance,
    caution: trust.caution,
    nearest: trust.neighbours.map(({ id }) => id).join(" "),
  }));
}

export function saveCsv(): void {
  const field = (value: string | number | null): string => {
    // a spreadsheet would take such a text for a formula
    const formula = typeof value === "string" && /^[=+\-@\t\r]/.test(value);
    const text = `${formula ? "'" : ""}${value ?? ""}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = rows().map((row) => NAMES.map((name) => field(row[name])).join(","));
  save([[NAMES.join(","), ...lines].join("\r\n"), "\r\n"], "vecspeak-answers.csv", "text/csv");
}

export async function saveParquet(): Promise<void> {
  const { parquetWriteBuffer } = await import("hyparquet-writer");
  const all = rows();
  const columnData = NAMES.map((name) => ({
    name,
    data: all.map((row) => row[name]),
    type: name === "consistency" || name === "distance" ? ("DOUBLE" as const) : ("STRING" as const),
    nullable: true,
  }));
  save([parquetWriteBuffer({ columnData })], "vecspeak-answers.parquet", "application/vnd.apache.parquet");
}

function save(parts: BlobPart[], name: string, type: string): void {
  const address = URL.createObjectURL(new Blob(parts, { type }));
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
