"""Narration on a Ray cluster: Ray Data hands ranges of rows to workers, each with the model, and keeps their order.

vecspeak narrate films-elm films.lance --task summary --out summaries.parquet --engine ray --workers 8

Workers read the model folder and the Lance dataset themselves, so every node needs to see them at the same path.
"""

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from vecspeak.errors import ConfigError
from vecspeak.narrate import Job, open_adapter, open_narrator, rows_from
from vecspeak.spacefile import one_line, open_space


class OnRay:
    """The engine of a cluster: the one of RAY_ADDRESS or of this machine, else one started here for the time being.

    Workers get a GPU each where the cluster has some, else a CPU.
    """

    def __init__(self, job: Job, *, workers: int):
        """Raises ConfigError where ray is not installed, or the cluster has too few GPUs or CPUs; as `open_adapter`."""
        try:
            import ray
        except ImportError as error:
            raise ConfigError("Engine ray needs `pip install 'vecspeak[ray]'`.") from error
        if workers < 1:
            raise ConfigError(f"workers is {workers}; expected at least 1.")
        open_adapter(job)  # what does not fit is said here, not by a worker
        self._job, self._workers = job, workers
        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False)
        there: Mapping[str, float] = ray.cluster_resources()
        self._kind = "GPU" if there.get("GPU", 0) else "CPU"
        if workers > there.get(self._kind, 0):
            raise ConfigError(
                f"{workers} workers need a {self._kind} each, the cluster has {there.get(self._kind, 0):g}."
            )

    def tables(self, first: int, *, size: int, on_rows: Callable[[int], None]) -> Iterator[pa.Table]:
        """As `Engine.tables`; a table is the work of one worker. Raises ConfigError with what a worker raised."""
        from ray.data import DataContext, from_items
        from ray.exceptions import RayError

        DataContext.get_current().execution_options.preserve_order = True
        DataContext.get_current().enable_progress_bars = False
        starts = range(first, self._job.rows, size)
        ranges = [{"first": start, "end": min(start + size, self._job.rows)} for start in starts]
        narrated = from_items(ranges, override_num_blocks=len(ranges)).map_batches(
            _Worker,
            fn_constructor_args=[self._job],
            batch_size=1,
            batch_format="pyarrow",
            concurrency=self._workers,
            num_gpus=1 if self._kind == "GPU" else None,
        )
        try:
            for table in narrated.iter_batches(batch_size=None, batch_format="pyarrow"):
                on_rows(len(table))
                yield table
        except RayError as error:
            cause = getattr(error, "cause", None) or error  # what the worker raised, without its traceback
            raise ConfigError(f"A worker failed; the parts before it are kept: {one_line(cause)}") from error


class _Worker:
    """Holds the model of a job on a node."""

    def __init__(self, job: Job):
        self._job, self._narrator = job, open_narrator(job)

    def __call__(self, ranges: pa.Table) -> Iterator[pa.Table]:
        """The narrated rows of each range `first`, `end`."""
        dataset, _ = open_space(self._job.space)
        for some in ranges.to_pylist():
            rows = rows_from(dataset, some["first"], some["end"])
            yield from self._narrator.tables(rows, size=some["end"] - some["first"], on_rows=lambda rows: None)
