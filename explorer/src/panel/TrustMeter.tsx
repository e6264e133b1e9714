import type { Trust } from "../api";
import * as state from "../state";

/** Cosine above which an answer says what lives at the point, and above which it says something of it. */
const CLOSE = 0.5;
const LOOSE = 0.35;
/** Percentiles. */
const EDGE = 90;
const BEYOND = 99;

export function TrustMeter({ trust }: { trust: Trust }) {
  const { consistency, distance, caution } = trust;
  return (
    <>
      <dl class="trust">
        <dt>Consistency</dt>
        <dd>
          <Bar share={consistency} />
          {consistency === null ? "not measured: the space has no text encoder" : `${consistencyInWords(consistency)}, ${consistency.toFixed(2)}`}
        </dd>
        <dt>Distance</dt>
        <dd>
          <Bar share={distance === null ? null : 1 - distance / 100} />
          {distance === null ? "unknown" : distanceInWords(distance)}
        </dd>
      </dl>
      {caution && <p class="caution">{caution}</p>}
    </>
  );
}

function Bar({ share }: { share: number | null }) {
  const percent = Math.round(100 * Math.min(Math.max(share ?? 0, 0), 1));
  return <span class="meter" aria-hidden="true"><i style={{ width: `${percent}%` }} /></span>;
}

export const consistencyInWords = (value: number): string => (value >= CLOSE ? "close to it" : value >= LOOSE ? "loosely about it" : "hardly about it");

function distanceInWords(percentile: number): string {
  if (percentile <= EDGE) return "among the data";
  const farther = `farther out than ${Math.min(Math.floor(percentile), 100)} % of ${state.nounFor(2)}`;
  return percentile <= BEYOND ? `at the edge, ${farther}` : `beyond the data, ${farther}`;
}
