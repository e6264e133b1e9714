import { showLayout, start } from "../actions";
import * as state from "../state";
import { layoutName } from "./Legend";

/** What stands in the map's place while there is none. */
export function Covers({ failure }: { failure: string }) {
  const loading = state.loading.value;
  if (failure) return <div class="cover" role="alert"><p>{failure}</p></div>;
  if (loading.kind === "failed") {
    return (
      <div class="cover" role="alert">
        <h2>No map yet</h2>
        <p>{loading.message}</p>
        <button type="button" class="strong" onClick={() => void start()}>Try again</button>
      </div>
    );
  }
  if (loading.kind === "ready") {
    return state.entities.value?.count === 0 ? <div class="cover"><p>This space is empty.</p></div> : null;
  }
  const quick = loading.kind === "computing" && loading.layout !== "pca" && state.model.value?.layouts.includes("pca");
  return (
    <div class="cover waiting" role="status">
      <div class="dots" aria-hidden="true"><i /><i /><i /></div>
      {loading.kind === "starting" ? (
        <p>Reading the space</p>
      ) : (
        <>
          <p>Laying out the map</p>
          <p class="note">{layoutName(loading.layout)} of all {state.nounFor(2)}. This is done once and kept.</p>
          {quick && <button type="button" class="plain" onClick={() => void showLayout("pca")}>Show PCA meanwhile</button>}
        </>
      )}
    </div>
  );
}
