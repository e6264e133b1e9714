import * as state from "../state";
import type { Seen } from "./MapView";
import { coveredByMarks } from "./Marks";
import { fitting, type Wanted } from "./placing";

/** Entities seen at once, at most, that carry their titles. */
const FEW = 120;
const LONGEST = 34;

/** Names of the clusters; from near, titles of the entities instead. */
export function Labels({ seen }: { seen: Seen }) {
  const entities = state.entities.value!;
  const { plot } = seen;
  const rows = plot.seen(FEW);
  const near = rows.length <= FEW;
  const clusters: Wanted[] = state.labels.value.map(({ text, x, y, size }) => {
    const [left, top] = plot.toScreen(x, y);
    return { text: shortened(text), left, top, kind: "cluster", weight: size };
  });
  const titles: Wanted[] = near
    ? rows.map((row) => {
        const { id, title } = entities.at(row);
        const [left, top] = plot.toScreen(entities.x[row]!, entities.y[row]!);
        return { text: shortened(title ?? id), left, top, kind: "entity", weight: -row };
      })
    : [];
  return (
    <div class="labels" aria-hidden="true">
      {fitting(near ? titles : clusters, plot.box, coveredByMarks(plot)).map(({ text, left, top, kind }) => (
        <span key={`${kind}${text}`} class={kind} style={{ transform: `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)` }}>
          <i>{text}</i>
        </span>
      ))}
    </div>
  );
}

const shortened = (text: string): string => (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text);
