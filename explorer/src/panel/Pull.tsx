import { useSignal } from "@preact/signals";
import { adjust, settle } from "../actions";
import { pushesOf } from "../points";
import * as state from "../state";

/** Standard deviations, either way. */
const FARTHEST = 3;
/** Concepts shown before "more". */
const FIRST = 5;

/** A slider for each concept: the point is pushed along it. */
export function Pull() {
  const all = useSignal(false);
  const recipe = state.recipe.value!;
  const known = state.concepts.value;
  const pushed = pushesOf(recipe);
  const shown = all.value ? known : known.filter(({ name }, number) => number < FIRST || recipe.pushes[name]);
  return (
    <section class="pull">
      <h3>
        Pull {state.comparing.value ? "both" : "it"} towards
        {pushed.length > 0 && <button type="button" class="link" onClick={() => (adjust({ pushes: {} }), settle())}>Reset</button>}
      </h3>
      {known.length === 0 && <p class="note">No concepts yet. Fit one from two groups under Concepts.</p>}
      {shown.map(({ name }) => <Slider key={name} name={name} size={recipe.pushes[name] ?? 0} />)}
      {known.length > shown.length && (
        <button type="button" class="link" onClick={() => (all.value = true)}>{known.length - shown.length} more concepts</button>
      )}
    </section>
  );
}

function Slider({ name, size }: { name: string; size: number }) {
  const pushes = state.recipe.value!.pushes;
  const words = size === 0 ? "0" : `${size > 0 ? "+" : "−"}${Math.abs(size)}`;
  return (
    <label class={`pulling ${size ? "on" : ""}`}>
      <span>{name}</span>
      <span class="track">
        <input
          type="range"
          min={-FARTHEST}
          max={FARTHEST}
          step="0.25"
          value={size}
          aria-valuetext={`${words} standard deviations`}
          onInput={(event) => adjust({ pushes: { ...pushes, [name]: Number(event.currentTarget.value) } })}
          onChange={settle}
          onDblClick={() => (adjust({ pushes: { ...pushes, [name]: 0 } }), settle())}
        />
      </span>
      <output>{words}</output>
    </label>
  );
}
