/** Which labels fit: the most important first, each only where it covers none before it. */

export interface Placed {
  text: string;
  left: number;
  top: number;
  kind: "cluster" | "entity";
}

export interface Wanted extends Placed {
  weight: number;
}

const LETTER = { cluster: 7.4, entity: 6.6 };
const LINE = { cluster: 22, entity: 18 };

/** @param taken boxes that no label may cover, as [left, top, right, bottom] */
export function fitting(wanted: Wanted[], box: { width: number; height: number }, taken: [number, number, number, number][]): Placed[] {
  const boxes = [...taken];
  const placed: Placed[] = [];
  for (const label of [...wanted].sort((a, b) => b.weight - a.weight)) {
    const half = (label.text.length * LETTER[label.kind]) / 2 + 6;
    const line = LINE[label.kind];
    const middle = label.kind === "cluster" ? label.top : label.top + 15;
    const mine: [number, number, number, number] = [label.left - half, middle - line / 2, label.left + half, middle + line / 2];
    const outside = mine[0] < 0 || mine[2] > box.width || mine[1] < 0 || mine[3] > box.height;
    if (outside || boxes.some((other) => mine[0] < other[2] && other[0] < mine[2] && mine[1] < other[3] && other[1] < mine[3])) continue;
    boxes.push(mine);
    placed.push(label);
  }
  return placed;
}
