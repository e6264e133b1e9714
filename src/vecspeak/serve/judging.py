"""The thread that says how far to trust an answer: it re-encodes the text, which must not hold up the decoding."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from vecspeak.answers import Answer, Asked
from vecspeak.elm import Elm
from vecspeak.serve.writing import Writing

Job = tuple[Asked, Sequence[Writing], Future[Answer]]


class Judge:
    """Takes finished answers; those that are there together are encoded in one batch."""

    def __init__(self, elm: Elm) -> None:
        self._elm = elm
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="judging", daemon=True)
        self._thread.start()

    def judge(self, asked: Asked, samples: Sequence[Writing]) -> Future[Answer]:
        """The most consistent of a question's samples, with its consistency, distance and neighbours."""
        future: Future[Answer] = Future()
        with self._changed:
            self._jobs.append((asked, samples, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Finish what is there."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        self._warm()
        while jobs := self._together():
            self._answer(jobs)

    def _together(self) -> list[Job]:
        """What waits, at least one; none where there will be none."""
        with self._changed:
            while not self._jobs and not self._closing:
                self._changed.wait()
            jobs, self._jobs = self._jobs, []
        return [job for job in jobs if job[2].set_running_or_notify_cancel()] or (
            [] if self._closing else self._together()
        )

    def _answer(self, jobs: Sequence[Job]) -> None:
        try:
            answers = self._elm.answers(
                [asked for asked, _, _ in jobs],
                [[writing.ids for writing in samples] for _, samples, _ in jobs],
                texts=[[writing.text for writing in samples] for _, samples, _ in jobs],
            )
        except Exception as error:  # told to whoever waits
            for _, _, future in jobs:
                future.set_exception(error)
            return
        for (_, _, future), answer in zip(jobs, answers, strict=True):
            future.set_result(answer)

    def _warm(self) -> None:
        """What is computed on first use, before anybody waits for it."""
        space = self._elm.space
        if self._elm.encoder is not None:
            self._elm.encoder.encode(["warm"])
        if space is not None:
            point = space[space.ids[0]]
            space.distances([point])
            self._elm.words(point, 1)
