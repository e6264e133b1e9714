"""The thread that says how far to trust an answer: it re-encodes the text, which must not hold up the decoding."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from vecspeak.answers import Answer, Asked
from vecspeak.elm import Elm
from vecspeak.serve.writing import Writing

logger = logging.getLogger("vecspeak.serve")

ChosenBy = Literal["consistency", "support"] | None
CHOICES: tuple[ChosenBy, ...] = (None, "consistency", "support")


@dataclass(frozen=True, eq=False)
class Job:
    """Samples of one choice that have ended; `answer` will hold the best of them."""

    asked: Asked
    samples: Sequence[Writing]
    chosen_by: ChosenBy
    answer: Future[Answer] = field(default_factory=Future)


class Judge:
    """Takes finished answers; those that are there together are encoded in one batch."""

    def __init__(self, elm: Elm) -> None:
        self._elm = elm
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="judging", daemon=True)
        self._thread.start()

    def judge(self, job: Job) -> None:
        """Queue a job."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Finish what is there."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._warm()
        except Exception:
            logger.exception("The first answer will show what is wrong")
        while jobs := self._together():
            for chosen_by in CHOICES:
                # whoever has gone needs no answer
                same = [job for job in jobs if job.chosen_by == chosen_by and job.answer.set_running_or_notify_cancel()]
                if same:
                    self._answer(same, chosen_by)

    def _together(self) -> list[Job]:
        """What waits, at least one; none where there will be none."""
        with self._changed:
            while not self._jobs and not self._closing:
                self._changed.wait()
            jobs, self._jobs = self._jobs, []
        return jobs

    def _answer(self, jobs: Sequence[Job], chosen_by: ChosenBy) -> None:
        try:
            answers = self._elm.answers(
                [job.asked for job in jobs],
                [[writing.ids for writing in job.samples] for job in jobs],
                texts=[[writing.text for writing in job.samples] for job in jobs],
                chosen_by=chosen_by,
            )
        except Exception as error:  # told to whoever waits
            for job in jobs:
                job.answer.set_exception(error)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.answer.set_result(answer)

    def _warm(self) -> None:
        """What is computed on first use, before anybody waits for it."""
        space = self._elm.space
        if self._elm.encoder is not None:
            self._elm.encoder.encode(["warm"])
        if space is not None:
            point = space[space.ids[0]]
            space.distances([point])
            self._elm.words(point, 1)
