import { useSignal } from "@preact/signals";
import { fillGroup, fitConcept } from "../actions";
import type { Concept } from "../api";
import type { Side } from "../state";
import * as state from "../state";

export function ConceptsTab() {
  return (
    <>
      <header class="head">
        <h2>Concepts</h2>
        <p class="note">
          A concept is a direction with a name. It is fitted from {state.nounFor(2)} that have more of it and some that have less, and kept
          only if it tells others apart better than chance.
        </p>
      </header>
      <Fitting />
      <section>
        <h3>Known</h3>
        {state.concepts.value.length === 0 && <p class="note">None yet.</p>}
        <ul class="rows">{state.concepts.value.map((concept) => <Row key={concept.name} concept={concept} />)}</ul>
      </section>
    </>
  );
}

function Row({ concept: { name, quality, saved } }: { concept: Concept }) {
  const words = quality ? `${quality.value.toFixed(2)}` : "not measured";
  return (
    <li>
      <span>{name}{!saved && <em> new</em>}</span>
      <small title={quality ? `${quality.measure} on ${quality.examples} examples it was not fitted on; chance 0.5, p ${quality.p.toFixed(3)}` : "Fitted from a text: nothing to measure it on"}>
        {words}
      </small>
    </li>
  );
}

function Fitting() {
  const name = useSignal("");
  const told = useSignal<{ kind: "none" | "busy" | "done" | "failed"; words: string }>({ kind: "none", words: "" });
  const { more, less } = state.groups.value;
  const submit = async (event: Event) => {
    event.preventDefault();
    told.value = { kind: "busy", words: "Fitting, and testing it on others…" };
    try {
      const { name: fitted, quality } = await fitConcept(name.value.trim());
      const words = quality ? ` On ${state.nounFor(2)} held out in turn it is right about ${Math.round(quality.value * 100)} %; chance is 50 %.` : "";
      told.value = { kind: "done", words: `${fitted} is fitted.${words} Its slider is under Point.` };
      name.value = "";
    } catch (error) {
      told.value = { kind: "failed", words: error instanceof Error ? error.message : String(error) };
    }
  };
  return (
    <form class="fitting" onSubmit={submit}>
      <h3>A new one</h3>
      <Group side="more" title="More of it" empty="Draw a lasso on the map, or pick some." />
      <Group side="less" title="Less of it" empty={`Left empty: all other ${state.nounFor(2)}.`} />
      <div class="composer">
        <label class="unseen" for="concept-name">Name of the concept</label>
        <input id="concept-name" required pattern="[\p{L}_][\p{L}\p{N}_]*" title="Letters, digits and underscores" autocomplete="off" placeholder="Its name, as in dreamy" value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />
        <button type="submit" class="strong" disabled={more.length < 2 || less.length === 1 || told.value.kind === "busy"}>Fit</button>
      </div>
      {told.value.kind !== "none" && <p class={told.value.kind === "failed" ? "fault" : "note"} role="status">{told.value.words}</p>}
    </form>
  );
}

/** Titles shown of a group. */
const SHOWN = 4;

function Group({ side, title, empty }: { side: Side; title: string; empty: string }) {
  const ids = state.groups.value[side];
  const entities = state.entities.value;
  const chosen = state.recipe.value?.first;
  const titles = ids.slice(0, SHOWN).map((id) => {
    const row = entities?.rowOf(id);
    return row === undefined ? id : (entities!.at(row).title ?? id);
  });
  return (
    <div class="group" role="group" aria-label={title}>
      <p>
        <b>{title}</b>
        {ids.length > 0 && <button type="button" class="link" onClick={() => fillGroup(side, [])}>Clear</button>}
      </p>
      <p class="note">{ids.length ? `${state.counted(ids.length)}: ${titles.join(", ")}${ids.length > SHOWN ? " …" : ""}` : empty}</p>
      <p class="row">
        <button type="button" class="link" onClick={() => (state.lassoing.value = true)}>Lasso</button>
        {chosen?.id != null && !ids.includes(chosen.id) && (
          <button type="button" class="link" onClick={() => fillGroup(side, [...ids, chosen.id!])}>Add {chosen.title}</button>
        )}
      </p>
    </div>
  );
}
