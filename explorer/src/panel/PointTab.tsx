import { choose, close } from "../actions";
import { Icon } from "../icons";
import { isPlain, type Recipe } from "../points";
import * as state from "../state";
import { AnswerBlock } from "./AnswerBlock";
import { Between } from "./Between";
import { Nearest } from "./Nearest";
import { Pull } from "./Pull";
import { Questions } from "./Questions";
import { Known } from "./Known";

export function PointTab() {
  if (!state.recipe.value) return <Invitation />;
  return (
    <>
      <Head />
      <Questions />
      <AnswerBlock />
      <Between />
      <Pull />
      <Nearest />
      <Known />
    </>
  );
}

function Head() {
  const recipe = state.recipe.value!;
  const located = state.located.value;
  const geometry = located.kind === "known" ? located.geometry : null;
  const made = recipe.first.id === null || !isPlain(recipe);
  return (
    <header class="head">
      <p class="kind">
        <span class={made && !state.comparing.value ? "ring" : "disc"} /> {kindOf(recipe)}
        <button type="button" class="quiet" onClick={close} aria-label="Leave this point" title="Leave this point (Esc)"><Icon name="close" /></button>
      </p>
      <h2>{state.subject.value}</h2>
      {made && !state.comparing.value && geometry?.hypothetical !== false && (
        <p class="note">
          No {state.slot.value} lives here: the answer is hypothetical
          {recipe.first.id === null && !recipe.second ? `, and the point is made of the ${state.nounFor(2)} around it.` : "."}
        </p>
      )}
      {located.kind === "failed" && <p class="fault" role="alert">{located.message}</p>}
      {!state.comparing.value && (
        <p class={`words ${located.kind === "busy" ? "pending" : ""}`}>
          <span class="label" title="The vocabulary nearest to what the model makes of the vector. Nothing is generated.">First words</span>{" "}
          {geometry ? geometry.words.slice(0, 7).join(", ") : located.kind === "busy" ? "…" : "unknown"}
        </p>
      )}
    </header>
  );
}

function kindOf(recipe: Recipe): string {
  if (state.comparing.value) return "Two points at once";
  if (recipe.second) return "A made point, between two";
  if (recipe.first.id === null) return "A made point";
  return isPlain(recipe) ? capital(state.slot.value) : "A made point, pushed";
}

const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);

function Invitation() {
  const model = state.model.value;
  const entities = state.entities.value;
  const noun = state.slot.value;
  if (!model) return null;
  const step = entities ? Math.max(1, Math.floor(entities.count / 3)) : 0;
  const examples = entities && entities.count ? [0, step, 2 * step].filter((row) => row < entities.count).map((row) => entities.at(row)) : [];
  return (
    <div class="invitation">
      <h2>What does a vector say?</h2>
      <p>
        Choose a {noun} on the map, or the ground between, and read what a language model makes of nothing but its {model.space.dimension}{" "}
        numbers.
      </p>
      <p class="label">For example</p>
      <ul class="rows">
        {examples.map(({ id, title }) => (
          <li key={id}>
            <button type="button" onClick={() => choose(id, title)}>{title ?? id}</button>
          </li>
        ))}
      </ul>
      <p class="note keys">Press <kbd>/</kbd> to search. The map takes the arrow keys.</p>
    </div>
  );
}
