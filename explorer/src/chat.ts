/** Asking: a prompt with slots and the points for them, as an OpenAI chat request; the answer as a stream of pieces. */

import { call, posted, type Trust } from "./api";
import { expressionOf, type Recipe } from "./points";

export type Part =
  | { type: "text"; text: string }
  | { type: "entity"; entity: string }
  | { type: "point"; point: string };

export interface ChatRequest {
  model: string;
  messages: [{ role: "user"; content: Part[] }];
}

const SLOT = /\{([^{}]*)\}/;

/** A question as the model wants it: with slots. One that names none is put to the points. */
export function withSlots(question: string, slots: string[]): string {
  return SLOT.test(question) ? question : `About ${slots.map((slot) => `{${slot}}`).join(" and ")}: ${question}`;
}

export const slotsOf = (prompt: string): string[] => [...new Set([...prompt.matchAll(/\{([^{}]*)\}/g)].map((match) => match[1]!))];

/** The prompt cut at its slots; the first slot is the first point, the next the second, as `points` has them. */
export function requestOf(model: string, prompt: string, points: Part[]): ChatRequest {
  const slots = slotsOf(prompt);
  const content = prompt
    .split(/(\{[^{}]*\})/)
    .filter((piece) => piece !== "")
    .map((piece): Part => {
      const slot = piece.match(SLOT)?.[1];
      const point = slot === undefined ? undefined : points[slots.indexOf(slot)];
      return point ?? { type: "text", text: piece };
    });
  return { model, messages: [{ role: "user", content }] };
}

/** The content part for a point. */
export function partOf(recipe: Recipe): Part {
  const { first, second, share, pushes } = recipe;
  const plain = Object.values(pushes).every((size) => size === 0);
  const entity = !plain ? null : !second || share === 0 ? first.id : share === 1 ? second.id : null;
  return entity === null ? { type: "point", point: expressionOf(recipe) } : { type: "entity", entity };
}

/** Asks and hands over each piece as it comes. Resolves to how far to trust the whole. Throws ApiError or AbortError. */
export async function ask(request: ChatRequest, onPiece: (piece: string) => void, signal: AbortSignal): Promise<Trust> {
  const response = await call("v1/chat/completions", { ...posted({ ...request, stream: true }), signal });
  let trust: Trust = { consistency: null, distance: null, caution: null, neighbours: [] };
  for await (const data of events(response)) {
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message);
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) onPiece(choice.delta.content);
    if (choice?.vecspeak) trust = choice.vecspeak;
  }
  return trust;
}

/** The data lines of a server-sent event stream, up to [DONE]. */
async function* events(response: Response): AsyncGenerator<string> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data === "[DONE]") return;
      if (data) yield data;
    }
  }
}
