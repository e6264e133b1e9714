import { choose } from "../actions";
import * as state from "../state";

export function Nearest() {
  const located = state.located.value;
  if (state.comparing.value || located.kind === "none" || located.kind === "failed") return null;
  const neighbours = located.kind === "known" ? located.geometry.neighbours.slice(0, 6) : [];
  return (
    <section class="nearest">
      <h3>Nearest</h3>
      {located.kind === "busy" && <p class="note">Looking around…</p>}
      <ul class="rows">
        {neighbours.map(({ id, title, similarity }) => (
          <li key={id}>
            <button type="button" onClick={() => choose(id, title)}>{title ?? id}</button>
            <small title="Similarity in the space's metric">{similarity.toFixed(2)}</small>
          </li>
        ))}
      </ul>
    </section>
  );
}
