import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { ChatRequest } from "../chat";
import { copy } from "../clipboard";
import { asCurl, asPython } from "../snippets";

/** The question as code, to read and to take away. */
export function CopyAs({ request }: { request: ChatRequest }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const language = useSignal<"Python" | "curl">("Python");
  const copied = useSignal("");
  const code = language.value === "Python" ? asPython(request) : asCurl(request);
  const open = (chosen: "Python" | "curl") => {
    language.value = chosen;
    copied.value = "";
    dialog.current!.showModal();
  };
  const copyCode = async () => {
    copied.value = (await copy(code)) ? "Copied." : "The browser does not allow it; select the text instead.";
  };
  return (
    <>
      <button type="button" class="link" onClick={() => open("Python")}>Python</button>
      <button type="button" class="link" onClick={() => open("curl")}>curl</button>
      <dialog ref={dialog} class="code" aria-labelledby="code-title">
        <h2 id="code-title">This question in {language.value}</h2>
        <pre tabIndex={0}><code>{code}</code></pre>
        <p class="row">
          <button type="button" class="strong" onClick={() => void copyCode()}>Copy</button>
          <button type="button" class="plain" onClick={() => dialog.current!.close()}>Close</button>
          <span class="note" role="status">{copied.value}</span>
        </p>
      </dialog>
    </>
  );
}
