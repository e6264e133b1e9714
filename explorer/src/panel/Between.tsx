import { adjust, compare, dropSecond, settle } from "../actions";
import * as state from "../state";

/** A second point: the way to it, or both at once. */
export function Between() {
  const recipe = state.recipe.value!;
  const { first, second, share } = recipe;
  if (!second) {
    return (
      <section class="between">
        <h3>Second point</h3>
        <p class="note">Go part of the way to another {state.slot.value}, or compare the two.</p>
        <button type="button" class="plain" aria-pressed={state.choosingSecond.value} onClick={() => (state.choosingSecond.value = true)}>
          Choose a second point
        </button>
      </section>
    );
  }
  const comparing = state.comparing.value;
  const percent = Math.round(share * 100);
  return (
    <section class="between">
      <h3>
        Second point
        <button type="button" class="link" onClick={dropSecond}>Remove</button>
      </h3>
      <div class="segments" role="group" aria-label="What to do with two points">
        <button type="button" aria-pressed={!comparing} onClick={() => compare(false)}>Between</button>
        <button type="button" aria-pressed={comparing} onClick={() => compare(true)}>Compare</button>
      </div>
      <div class="ends">
        <span><b class="badge">1</b> {first.title}</span>
        <span>{second.title} <b class="badge">2</b></span>
      </div>
      {!comparing && (
        <input
          type="range"
          min="0"
          max="100"
          step="5"
          value={percent}
          aria-label={`Share of the way from ${first.title} to ${second.title}`}
          aria-valuetext={`${percent} %`}
          onInput={(event) => adjust({ share: Number(event.currentTarget.value) / 100 })}
          onChange={settle}
        />
      )}
    </section>
  );
}
