import { useRef } from "preact/hooks";
import { hasToken } from "./api";
import { Icon } from "./icons";
import { Search } from "./Search";
import * as state from "./state";
import { nextTheme, theme } from "./theme";

export function Header() {
  const space = state.model.value?.space;
  const help = useRef<HTMLDialogElement>(null);
  return (
    <header class="top">
      <h1 class="brand">
        vecspeak
        {space && <span class="about" title={`${space.dimension} numbers each, ${space.metric}`}>{space.name === state.nounFor(2) ? state.counted(space.count) : `${space.name}, ${state.counted(space.count)}`}</span>}
      </h1>
      <Search />
      <div class="top-tools">
        <button type="button" class="quiet" onClick={nextTheme} aria-label={`Colours: ${theme.value}`} title={`Colours: ${theme.value}`}>
          <Icon name={theme.value} />
        </button>
        <button type="button" class="quiet" onClick={() => help.current?.showModal()} aria-label="How this works" title="How this works">
          <Icon name="help" />
        </button>
      </div>
      <dialog ref={help} class="help" aria-labelledby="help-title">
        <Help onClose={() => help.current?.close()} />
      </dialog>
    </header>
  );
}

const KEYS: [string, string][] = [
  ["/", "search"],
  ["Arrows", "on the map: go to the next entity that way"],
  ["Enter", "on the map: ask about the entity"],
  ["G", "on the map: ask about the ground in the middle"],
  ["A", "on the map: pick the entity for a group"],
  ["+ − 0", "on the map: nearer, farther, all of it"],
  ["Shift + drag", "lasso"],
  ["Ctrl + click", "choose as the second point"],
  ["Esc", "leave what is chosen"],
];

function Help({ onClose }: { onClose: () => void }) {
  const noun = state.slot.value;
  return (
    <>
      <h2 id="help-title">How this works</h2>
      <p>
        Each dot is a {noun}: a vector of {state.model.value?.space.dimension ?? "many"} numbers, placed so that near vectors lie near. A
        language model was trained to read such vectors. Click a dot, or the ground between dots, and ask.
      </p>
      <p>
        <b>Consistency</b> is the cosine between the answer, encoded again, and the point. Compare it with other answers about this space,
        not with 1. <b>Distance</b> tells how many of the {state.nounFor(2)} lie closer to their neighbours than the point does; beyond 99 %
        believe little.
      </p>
      <table>
        <caption>Keys</caption>
        <tbody>
          {KEYS.map(([key, what]) => (
            <tr key={key}>
              <th scope="row"><kbd>{key}</kbd></th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">
        The same questions can be asked over HTTP, as {hasToken() ? "openapi.json" : <a href="openapi.json">openapi.json</a>} describes.
        vecspeak {state.model.value?.version}
      </p>
      <button type="button" class="plain" onClick={onClose}>Close</button>
    </>
  );
}
