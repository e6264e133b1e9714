/** Light, dark, or as the system has it. The style sheet does the rest through `color-scheme`. */

import { effect, signal } from "@preact/signals";
import { keep, kept } from "./storage";

export type Theme = "auto" | "light" | "dark";

const KEY = "vecspeak-theme";
const ORDER: Theme[] = ["auto", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");
const before = kept("localStorage", KEY) as Theme | null;

export const theme = signal<Theme>(before && ORDER.includes(before) ? before : "auto");
/** Counts changes of the colours, so that what is not styled by CSS follows. */
export const repainted = signal(0);

export function nextTheme(): void {
  theme.value = ORDER[(ORDER.indexOf(theme.value) + 1) % ORDER.length]!;
  keep("localStorage", KEY, theme.value);
}

effect(() => {
  document.documentElement.style.colorScheme = theme.value === "auto" ? "light dark" : theme.value;
  repainted.value = repainted.peek() + 1;
});
system.addEventListener("change", () => (repainted.value += 1));

/** A custom property's colour as #rrggbb. */
export function colourOf(property: string): string {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${property})`;
  const numbers = getComputedStyle(probe).color.match(/[\d.]+/g)!.slice(0, 3);
  probe.remove();
  return `#${numbers.map((value) => Math.round(Number(value)).toString(16).padStart(2, "0")).join("")}`;
}
