/** The browser's storage, which it may forbid or have filled up: what cannot be kept lives as long as the page. */

type Kind = "localStorage" | "sessionStorage";

export function kept(kind: Kind, key: string): string | null {
  try {
    return window[kind].getItem(key);
  } catch {
    return null;
  }
}

export function keep(kind: Kind, key: string, value: string): void {
  try {
    window[kind].setItem(key, value);
  } catch {
    // nothing to do about it
  }
}
