import { useSignal } from "@preact/signals";
import { ask } from "../actions";
import { Icon } from "../icons";
import * as state from "../state";

/** Tasks shown before "more". */
const FIRST = 4;

export function Questions() {
  const all = useSignal(false);
  const question = useSignal("");
  const fitting = state.fittingTasks.value;
  const shown = all.value ? fitting : fitting.slice(0, FIRST);
  const standing = state.answer.value?.prompt;
  const submit = (event: Event) => {
    event.preventDefault();
    if (!question.value.trim()) return;
    void ask(question.value);
    question.value = "";
  };
  return (
    <section class="questions" aria-label="Questions">
      <div class="chips">
        {shown.map((task) => (
          <button key={task.name} type="button" aria-pressed={task.prompt === standing} title={task.prompt} onClick={() => void ask(task.prompt)}>
            {task.title}
          </button>
        ))}
        {fitting.length > FIRST && (
          <button type="button" class="link" aria-expanded={all.value} onClick={() => (all.value = !all.value)}>
            {all.value ? "fewer" : `${fitting.length - FIRST} more`}
          </button>
        )}
      </div>
      <form class="composer" onSubmit={submit}>
        <label class="unseen" for="question">Your own question</label>
        <input
          id="question"
          autocomplete="off"
          placeholder={state.comparing.value ? "Ask about {first} and {second}" : `Ask anything about {${state.slot.value}}`}
          value={question.value}
          onInput={(event) => (question.value = event.currentTarget.value)}
        />
        <button type="submit" class="strong" aria-label="Ask" disabled={!question.value.trim()}><Icon name="send" /></button>
      </form>
    </section>
  );
}
