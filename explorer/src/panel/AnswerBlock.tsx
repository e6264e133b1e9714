import { ask, stop, tell } from "../actions";
import { copy } from "../clipboard";
import type { Answer } from "../state";
import * as state from "../state";
import { CopyAs } from "./CopyAs";
import { TrustMeter } from "./TrustMeter";

export function AnswerBlock() {
  const answer = state.answer.value;
  if (!answer) return null;
  return (
    <section class={`answer ${answer.status}`} aria-label="Answer" aria-busy={answer.status === "streaming"}>
      <p class="prompt">{answer.prompt}</p>
      <Text answer={answer} />
      {answer.status === "failed" && (
        <div class="fault" role="alert">
          <p>{answer.reason}</p>
          <button type="button" class="plain" onClick={() => void ask(answer.prompt)}>Ask again</button>
        </div>
      )}
      {answer.status === "stopped" && <p class="note">Stopped.</p>}
      {answer.trust && <TrustMeter trust={answer.trust} />}
      <div class="actions">
        {answer.status === "streaming" ? (
          <button type="button" class="link" onClick={stop}>Stop</button>
        ) : (
          <>
            <button type="button" class="link" onClick={() => void copyLink()}>Copy link</button>
            <CopyAs request={answer.request} />
          </>
        )}
      </div>
    </section>
  );
}

const BULLET = /^\s*(?:[-*•]|\d+[.)])\s+/;

/** Paragraphs as they come; lines that begin with a bullet as a list. */
function Text({ answer }: { answer: Answer }) {
  const lines = answer.text.trim().split("\n").filter((line) => line.trim() !== "");
  const caret = answer.status === "streaming" && <i class="caret" aria-hidden="true" />;
  if (lines.length > 1 && lines.filter((line) => BULLET.test(line)).length >= lines.length / 2) {
    return (
      <ul class="said">
        {lines.map((line, number) => (
          <li key={number}>{line.replace(BULLET, "")}{number === lines.length - 1 && caret}</li>
        ))}
      </ul>
    );
  }
  return <p class="said">{answer.text}{caret}</p>;
}

async function copyLink(): Promise<void> {
  tell((await copy(location.href)) ? "Link copied." : "The browser does not allow copying; the address bar holds the link.");
}
