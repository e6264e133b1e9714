import { useEffect } from "preact/hooks";
import { close } from "./actions";
import { Header } from "./Header";
import { MapView } from "./map/MapView";
import { Panel } from "./panel/Panel";
import { TokenDialog } from "./TokenDialog";
import * as state from "./state";

export function App() {
  useEffect(() => {
    addEventListener("keydown", shortcut);
    return () => removeEventListener("keydown", shortcut);
  }, []);
  return (
    <>
      <Header />
      <main class="stage">
        <MapView />
      </main>
      <Panel />
      <TokenDialog />
      <div class="unseen" role="status" aria-live="polite">
        {state.announcement.value}
      </div>
      {state.notice.value && <p class="notice" aria-hidden="true">{state.notice.value}</p>}
    </>
  );
}

function shortcut(event: KeyboardEvent): void {
  const typing = event.target instanceof HTMLElement && event.target.matches("input:not([type=range]), textarea, select");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    document.getElementById("search")?.focus();
  }
  if (event.key === "Escape" && !typing) {
    if (state.choosingSecond.value) state.choosingSecond.value = false;
    else if (state.selection.value.length) state.selection.value = [];
    else if (!document.querySelector("dialog[open]")) close();
  }
}
