import { reopen } from "../actions";
import { forget, saveCsv, saveParquet } from "../history";
import { read } from "../permalink";
import * as state from "../state";
import { consistencyInWords } from "./TrustMeter";

export function HistoryTab() {
  const all = state.history.value;
  return (
    <>
      <header class="head">
        <h2>History</h2>
        <p class="note">{all.length ? "Kept in this browser only." : "What you ask is kept here, in this browser only, and can be saved as a table."}</p>
      </header>
      {all.length > 0 && (
        <p class="row">
          <button type="button" class="plain" onClick={saveCsv}>Save as CSV</button>
          <button type="button" class="plain" onClick={() => void saveParquet()}>Save as Parquet</button>
          <button type="button" class="link" onClick={forget}>Clear</button>
        </p>
      )}
      <ol class="asked">
        {all.map((asked) => (
          <li key={asked.at}>
            <button type="button" onClick={() => void reopen(read(asked.link))}>
              <b>{asked.subject}</b>
              <span class="prompt">{asked.prompt}</span>
              <span class="said">{asked.text}</span>
              {asked.trust.consistency !== null && <small>{consistencyInWords(asked.trust.consistency)}, {asked.trust.consistency.toFixed(2)}</small>}
            </button>
          </li>
        ))}
      </ol>
    </>
  );
}
