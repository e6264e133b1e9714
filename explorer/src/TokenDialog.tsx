import { useEffect, useRef } from "preact/hooks";
import { start } from "./actions";
import { hasToken, saveToken, tokenWanted } from "./api";

/** Asks for the server's bearer token; it is kept until the tab is closed. */
export function TokenDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const wanted = tokenWanted.value;
  useEffect(() => {
    if (wanted && !dialog.current!.open) dialog.current!.showModal();
    if (!wanted) dialog.current!.close();
  }, [wanted]);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    saveToken(String(new FormData(event.currentTarget as HTMLFormElement).get("token")));
    void start();
  };
  return (
    <dialog ref={dialog} class="help" aria-labelledby="token-title" onCancel={() => (tokenWanted.value = false)}>
      <h2 id="token-title">This server wants a token</h2>
      <p>Whoever started it knows it. It is kept in this tab only.</p>
      {wanted && hasToken() && <p class="fault" role="alert">That token was refused.</p>}
      <form onSubmit={submit} class="composer">
        <label class="unseen" for="token">Token</label>
        <input id="token" name="token" type="password" required autocomplete="off" />
        <button type="submit" class="strong">Go on</button>
      </form>
    </dialog>
  );
}
