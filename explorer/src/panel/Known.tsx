import * as state from "../state";

/** What the table says of the entity, beside what the model says: of a user, the profile. */
export function Known() {
  const located = state.located.value;
  const row = located.kind === "known" ? located.geometry.row : null;
  if (!row || state.comparing.value) return null;
  const facts = Object.entries(row).filter(([name, value]) => name !== "title" && value !== null && value !== "" && !(Array.isArray(value) && value.length === 0));
  if (!facts.length) return null;
  const user = isUser(row);
  return (
    <section class="known">
      <details open={user}>
        <summary><h3>{user ? "Profile in the table" : "What the table says"}</h3></summary>
        <dl>
          {facts.map(([name, value]) => (
            <div key={name}>
              <dt>{name.replaceAll("_", " ")}</dt>
              <dd>{inWords(value)}</dd>
            </div>
          ))}
        </dl>
      </details>
    </section>
  );
}

/** In a behavioural space users lie among the items, or are all there is. */
function isUser(row: Record<string, unknown>): boolean {
  return state.model.value!.users && (row.kind === undefined ? state.slot.value === "user" : row.kind === "user");
}

function inWords(value: unknown): string {
  if (Array.isArray(value)) return value.map(inWords).join(", ");
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toPrecision(4);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
