import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { choose } from "./actions";
import { search, type Entity } from "./api";
import { Icon } from "./icons";
import * as state from "./state";

type Found = { kind: "none" } | { kind: "found"; results: Entity[]; total: number } | { kind: "failed"; message: string };

const PAUSE_MS = 120;

export function Search() {
  const text = useSignal("");
  const found = useSignal<Found>({ kind: "none" });
  const active = useSignal(0);
  const open = useSignal(false);
  const running = useRef<{ timer?: ReturnType<typeof setTimeout>; calls: AbortController }>({ calls: new AbortController() });
  /** What is found is of an earlier text; Enter then takes the first of what comes. */
  const stale = useRef<false | "stale" | "entered">(false);

  const look = (wanted: string) => {
    text.value = wanted;
    clearTimeout(running.current.timer);
    running.current.calls.abort();
    const calls = (running.current.calls = new AbortController());
    stale.current = "stale";
    if (!wanted.trim()) return void (found.value = { kind: "none" });
    open.value = true;
    running.current.timer = setTimeout(() => {
      search(wanted.trim(), calls.signal).then(
        (answer) => {
          const entered = stale.current === "entered";
          stale.current = false;
          found.value = { kind: "found", ...answer };
          active.value = 0;
          if (entered) take(answer.results[0]);
        },
        (error) => calls.signal.aborted || (found.value = { kind: "failed", message: error.message }),
      );
    }, PAUSE_MS);
  };
  const take = (entity: Entity | undefined) => {
    if (!entity) return;
    choose(entity.id, entity.title);
    look("");
    open.value = false;
    document.getElementById("search")?.blur();
  };
  const results = found.value.kind === "found" ? found.value.results : [];
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step && results.length) {
      active.value = (active.value + step + results.length) % results.length;
      document.getElementById(`result-${active.value}`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      if (stale.current) stale.current = "entered";
      else take(results[active.value]);
    }
    else if (event.key === "Escape") look("");
    else return;
    event.preventDefault();
  };
  const second = state.choosingSecond.value;
  const shown = open.value && found.value.kind !== "none";
  return (
    <search class="search">
      <label class="unseen" for="search">Search {state.nounFor(2)}</label>
      <Icon name="search" />
      <input
        id="search"
        type="text"
        role="combobox"
        aria-expanded={shown}
        aria-controls="search-results"
        aria-autocomplete="list"
        aria-activedescendant={results.length ? `result-${active.value}` : undefined}
        autocomplete="off"
        spellcheck={false}
        placeholder={second ? `Search the second ${state.slot.value}` : `Search ${state.nounFor(2)}`}
        value={text.value}
        onInput={(event) => look(event.currentTarget.value)}
        onKeyDown={onKeyDown}
        onFocus={() => (open.value = true)}
        onBlur={() => (open.value = false)}
      />
      <kbd aria-hidden="true">/</kbd>
      <div class="results" hidden={!shown}>
        <ul id="search-results" role="listbox" aria-label="Search results">
          {results.map((entity, number) => (
            <li
              key={entity.id}
              id={`result-${number}`}
              role="option"
              aria-selected={number === active.value}
              onMouseDown={(event) => (event.preventDefault(), take(entity))}
              onMouseMove={() => (active.value = number)}
            >
              <span>{entity.title ?? entity.id}</span>
              <small>{entity.id}</small>
            </li>
          ))}
        </ul>
        <SearchNote found={found.value} text={text.value} />
      </div>
    </search>
  );
}

function SearchNote({ found, text }: { found: Found; text: string }) {
  if (found.kind === "failed") return <p class="note">{found.message}</p>;
  if (found.kind === "none") return null;
  if (!found.results.length) return <p class="note">No {state.slot.value} is called “{text.trim()}”.</p>;
  const hidden = found.total - found.results.length;
  return hidden > 0 ? <p class="note">{hidden.toLocaleString("en")} more; type on to narrow them down.</p> : null;
}
