"""Model x held-out entities x tasks -> Report, with controls.

Shapes: N examples of a task, M entities of the side, E domain dimension, L dimension of the LSA encoder.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecspeak import metrics
from vecspeak.answers import Answer, Candidate, Question
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.encode import Encoder, LsaEncoder, load_encoder
from vecspeak.errors import ConfigError, EncoderError, SpaceError
from vecspeak.examples import Example, make_examples, partner_pairs
from vecspeak.files import write_whole
from vecspeak.report import (
    MEAN_VECTOR,
    NEAREST,
    SHUFFLED,
    TEACHER,
    Chance,
    Kind,
    LossScores,
    Report,
    Sample,
    SampleAnswer,
    TaskScores,
    TextScores,
)
from vecspeak.space import Space
from vecspeak.tasks import TaskSet

TRAINING_SIDE = "train"

Progress = Callable[[str, int, int], None]
"""Called before each step with what it is, the steps done, and all steps."""


class Behaviour(Protocol):
    """Judges texts by what people did, not by vectors (paper, section 3.2)."""

    def consistency(self, texts_NE: NDArray[np.float32], ids: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
        """Name of a measure -> its value (N,) for each encoded text about the entity of that id; NaN where none."""
        ...


def evaluate(
    elm: Elm,
    space: Space,
    tasks: TaskSet,
    *,
    judge: Space | None = None,
    behaviour: Behaviour | None = None,
    answers: Path | None = None,
    side: str = "test",
    decodings: Mapping[str, Decoding] | None = None,
    seed: int = 0,
    limit: int | None = None,
    samples: int = 20,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Ask about the entities of one side, given only their vectors, and judge the answers and the loss.

    Every task is asked by its first prompt. One-slot tasks get text scores and loss; two-slot tasks, over
    pairs of the `partner` column within the side, loss only. Controls, for every one-slot task: the
    teacher's own text, the text of the training entity with the highest cosine, the one answer to the mean
    vector, and each answer at another entity's vector; the last two are decoded as the first of `decodings`.

    The independent identification fits TF-IDF/LSA on the teacher's one-slot texts about training entities,
    and looks for each text among all entities of the side, each represented by the mean of the teacher's
    one-slot texts about it. So its figures compare only under the same task set.

    Args:
        elm: the model.
        space: its space, with a `split` column that names a side per entity, "train" among them.
        tasks: what to ask.
        judge: the space whose encoder and vectors judge the texts, where the model's own vectors are none of a text
            encoder; entities it lacks are not asked about. By default the model's own.
        behaviour: what else judges the texts, encoded by the judge's encoder.
        answers: folder where answers are kept as they come, and read from where it has them: a stopped evaluation
            then goes on.
        side: whose entities to ask about.
        decodings: name -> how to decode; by default greedily, as the model does by itself, and the best of 8 such.
        seed: of the bootstrap and of who is swapped with whom. Sampling has its own, in `decodings`.
        limit: ask only about the first so many entities in the order of ids; the candidates stay all.
        samples: how many unpicked answers the report shows.
        progress: told about each step.

    Raises:
        SpaceError: no `split` column, fewer than two entities on the side, or none in training.
        EncoderError: the model's encoder is unknown, or does not fit the space.
        ConfigError: no decoding, one named as a control is, or a limit below 2.
    """
    decodings = usual_decodings(elm) if decodings is None else decodings
    _check_settings(decodings, limit)
    judge = space if judge is None else judge
    encoder = _encoder_of(elm, space, judge)
    cohort = _Cohort.of(space, tasks, judge=judge, side=side, limit=limit)
    steps = _Steps(progress, len(cohort.training) * (len(decodings) + 1) + len(cohort.examples))
    judged: list[_JudgedTask] = []
    if cohort.training:
        reader = _Reader.of(encoder, cohort, behaviour=behaviour, seed=seed)
        judged = _judge_texts(_Asker(elm, answers), reader, cohort, decodings=decodings, seed=seed, steps=steps)
    losses = [_Losses.of(elm, examples, seed=seed, steps=steps) for examples in cohort.examples.values()]
    return Report(
        space=space.name,
        encoder=encoder.name,
        side=side,
        asked=len(cohort.held[:limit]),
        candidates=len(cohort.held),
        training=cohort.training_size,
        seed=seed,
        decodings={name: asdict(decoding) for name, decoding in decodings.items()},
        chance=Chance.among(len(cohort.held)),
        tasks=tuple(task.scores for task in judged),
        losses=tuple(loss.scores(seed=seed) for loss in losses),
        overall_gap=metrics.mean_interval(_gap_of_each_entity(losses), seed=seed),
        skipped=cohort.skipped,
        samples=tuple(_samples(space, judge, cohort, judged, count=samples)),
    )


def usual_decodings(elm: Elm) -> dict[str, Decoding]:
    """Greedy, the model's own decoding where that is another, and the best of 8 such, chosen by support and by SC."""
    greedy = Decoding(max_tokens=elm.decoding.max_tokens)
    own = {} if elm.decoding == greedy else {"own": elm.decoding}
    best = {
        "own, best of 8 by support": elm.decoding.but(best_of=8, chosen_by="support"),
        "own, best of 8": elm.decoding.but(best_of=8, chosen_by="consistency"),
    }
    return {"greedy": greedy, **own, **best}


def _check_settings(decodings: Mapping[str, Decoding], limit: int | None) -> None:
    if not decodings:
        raise ConfigError("Expected at least one decoding, got none. Give a name and a Decoding.")
    if clash := {TEACHER, NEAREST, MEAN_VECTOR, SHUFFLED} & set(decodings):
        raise ConfigError(f"{clash.pop()!r} is the name of a control. Call the decoding something else.")
    if limit is not None and limit < 2:
        raise ConfigError(f"limit is {limit}; controls swap entities, so expected 2 or more.")


def _encoder_of(elm: Elm, space: Space, judge: Space) -> Encoder:
    encoder = elm.encoder if judge is space else load_encoder(judge.encoder) if judge.encoder else None
    if encoder is None:
        raise EncoderError(
            f"Semantic consistency re-encodes the answers, but the space {judge.name} names no encoder. "
            "Import it with the name of the text encoder that made its vectors."
        )
    if encoder.dimension != judge.dimension:
        raise EncoderError(
            f"Encoder {encoder.name!r} gives {encoder.dimension} dimensions, {judge.name} has {judge.dimension}: "
            "it did not make these vectors. Import the space with the name of the one that did."
        )
    return encoder


@dataclass(frozen=True, eq=False)
class _Cohort:
    """Who is asked what, and what the training entities have to offer instead."""

    held: Sequence[str]
    """All ids of the side, sorted."""
    candidates_ME: NDArray[np.float32]
    """Their vectors in the space that judges."""
    references: Mapping[str, Sequence[str]]
    """Id -> the teacher's one-slot texts about it, where there is one."""
    examples: Mapping[str, Sequence[Example]]
    """Task -> what is asked, for every task that is measured."""
    training: Mapping[str, Sequence[Example]]
    """One-slot task that is measured -> the same of training entities."""
    training_size: int
    skipped: dict[str, str]
    """Task -> why it is not measured."""

    @staticmethod
    def of(space: Space, tasks: TaskSet, *, judge: Space, side: str, limit: int | None) -> "_Cohort":
        held = _ids_of(space, side, among=judge, at_least=2)
        taught = _ids_of(space, TRAINING_SIDE, among=space, at_least=1)
        first = {name: task.model_copy(update={"prompts": task.prompts[:1]}) for name, task in tasks.items()}
        one_slot = {name: task for name, task in first.items() if len(task.slots) == 1}
        known = _by_task(make_examples(space, first, ids=held, pairs=partner_pairs(space)))
        training = _by_task(make_examples(space, one_slot, ids=taught))
        asked = set(held[:limit])
        examples = {name: [e for e in known.get(name, []) if e.ids[0] in asked] for name in tasks}
        references: dict[str, list[str]] = defaultdict(list)
        for example in (e for name in one_slot for e in known.get(name, [])):
            references[example.ids[0]].append(example.target)
        skipped = {name: "no training entity has its text" for name in one_slot if name not in training}
        skipped |= {name: f"{len(n)} of 2 examples on side {side!r}" for name, n in examples.items() if len(n) < 2}
        return _Cohort(
            held=held,
            candidates_ME=np.stack([judge[id].vector for id in held]),
            references=references,
            examples={name: found for name, found in examples.items() if name not in skipped},
            training={name: found for name, found in training.items() if name not in skipped},
            training_size=len(taught),
            skipped=skipped,
        )


def _ids_of(space: Space, side: str, *, among: Space, at_least: int) -> list[str]:
    if "split" not in space.columns:
        raise SpaceError(f"{space.name} has no column 'split' that says which entities were held out of training.")
    sides = space.column("split")
    known_ids = set(among.ids)
    ids = sorted(id for id, name in zip(space.ids, sides, strict=True) if name == side and id in known_ids)
    if len(ids) < at_least:
        known = ", ".join(sorted({str(name) for name in sides}))
        raise SpaceError(f"{space.name} has {len(ids)} entities on side {side!r}, expected {at_least}. Sides: {known}.")
    return ids


def _by_task(examples: Iterable[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.task].append(example)
    return dict(groups)


@dataclass
class _Steps:
    progress: Progress
    total: int
    done: int = 0

    def begin(self, what: str) -> None:
        self.progress(what, self.done, self.total)
        self.done += 1


# ---- texts


@dataclass(frozen=True, eq=False)
class _Source:
    """The texts of one decoding or control for one task, as both encoders read them."""

    name: str
    kind: Kind
    texts: Sequence[str]
    semantic_NE: NDArray[np.float32]
    lexical_NL: NDArray[np.float32]

    def rearranged(self, rows: Sequence[int] | NDArray[np.int64], *, name: str) -> "_Source":
        """A control: the texts of `rows` in the place of one's own."""
        return _Source(name, "control", [self.texts[i] for i in rows], self.semantic_NE[rows], self.lexical_NL[rows])


@dataclass(frozen=True, eq=False)
class _JudgedTask:
    scores: TaskScores
    answers: Sequence[_Source]


def _judge_texts(
    asker: "_Asker", reader: "_Reader", cohort: _Cohort, *, decodings: Mapping[str, Decoding], seed: int, steps: _Steps
) -> list[_JudgedTask]:
    """Every one-slot task: ask, add the controls, score."""
    judged = []
    for task, training in cohort.training.items():
        examples = cohort.examples[task]
        answers = []
        for name, decoding in decodings.items():
            steps.begin(f"{task}: {name}")
            by_measure = decoding.best_of > 1 and decoding.chosen_by != "support"
            kind = "selected" if by_measure else "decoding"
            answers.append(reader.read(asker.ask(examples, decoding), name=name, kind=kind))
        steps.begin(f"{task}: controls")
        at_mean = asker.ask([_at_mean(asker.elm, examples[0])], next(iter(decodings.values())))
        controls = [
            reader.read([example.target for example in examples], name=TEACHER),
            reader.read(_nearest_texts(examples, training), name=NEAREST),
            reader.read(at_mean, name=MEAN_VECTOR).rearranged([0] * len(examples), name=MEAN_VECTOR),
            answers[0].rearranged(metrics.derangement(len(examples), seed=seed), name=SHUFFLED),
        ]
        scores = reader.score_task(examples, [*answers, *controls], teacher=controls[0])
        judged.append(_JudgedTask(scores, answers))
    return judged


@dataclass(frozen=True, eq=False)
class _Asker:
    """Asks the model, or recalls what it answered to just these questions before."""

    elm: Elm
    folder: Path | None

    known: dict[str, list[list[Candidate]]] = field(default_factory=dict)

    def ask(self, examples: Sequence[Example], decoding: Decoding) -> list[str]:
        questions = [Question(example.prompt, example.points) for example in examples]
        # all samples are kept, whatever chooses among them, so that another choice asks nothing again
        key = _key(questions, replace(decoding, chosen_by=None))
        if key not in self.known:
            self.known[key] = self._recalled(key) or self._answered(key, questions, decoding)
        return [_best(found, by_support=decoding.chosen_by == "support").text for found in self.known[key]]

    def _recalled(self, key: str) -> list[list[Candidate]] | None:
        path = self.folder and self.folder / f"{key}.json"
        if not path or not path.is_file():
            return None
        return [[Candidate(**told) for told in found] for found in json.loads(path.read_text("utf-8"))]

    def _answered(self, key: str, questions: Sequence[Question], decoding: Decoding) -> list[list[Candidate]]:
        answers = [_candidates(answer) for answer in self.elm.ask_many(questions, decoding=decoding)]
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = [[asdict(candidate) for candidate in found] for found in answers]
            write_whole(self.folder / f"{key}.json", json.dumps(kept, ensure_ascii=False, indent=1))
        return answers


def _key(questions: Sequence[Question], decoding: Decoding) -> str:
    digest = hashlib.sha256(json.dumps(asdict(decoding)).encode())
    for question in questions:
        digest.update(str(question.prompt).encode())
        for slot, point in question.points.items():
            digest.update(slot.encode() + np.asarray(point, np.float32).tobytes())
    return digest.hexdigest()[:32]


def _candidates(answer: Answer) -> list[Candidate]:
    return list(answer.candidates) or [Candidate(answer.text, answer.consistency, 0.0)]


def _best(found: Sequence[Candidate], *, by_support: bool) -> Candidate:
    by_support = by_support or found[0].consistency is None
    return max(found, key=lambda candidate: candidate.support if by_support else candidate.consistency or 0.0)


def _at_mean(elm: Elm, example: Example) -> Example:
    return replace(example, points=dict.fromkeys(example.points, elm.fingerprint.mean))


def _nearest_texts(examples: Sequence[Example], training: Sequence[Example]) -> list[str]:
    """What a user could do without a model: read the text of the nearest entity that has one."""
    return [training[row].target for row in metrics.nearest_rows(_vectors(examples), _vectors(training))]


def _vectors(examples: Sequence[Example]) -> NDArray[np.float32]:
    """(N, E) vectors of the only slot."""
    return np.stack([vector for example in examples for vector in example.points.values()])


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads texts with both encoders and scores them against the entities of the side."""

    encoder: Encoder
    lsa: LsaEncoder
    row_of: Mapping[str, int]
    """Id -> row of the candidates."""
    candidates_ME: NDArray[np.float32]
    references_ML: NDArray[np.float32]
    behaviour: Behaviour | None
    seed: int

    @staticmethod
    def of(encoder: Encoder, cohort: _Cohort, *, behaviour: Behaviour | None, seed: int) -> "_Reader":
        lsa = LsaEncoder.fit([example.target for found in cohort.training.values() for example in found])
        row_of = {id: row for row, id in enumerate(cohort.held)}
        # an entity without text stays a zero row; none is asked about
        references_ML = np.zeros((len(row_of), lsa.dimension), np.float32)
        told = [row_of[id] for id in cohort.references]
        references_ML[told] = lsa.encode_passages(list(cohort.references.values()))
        return _Reader(encoder, lsa, row_of, cohort.candidates_ME, references_ML, behaviour, seed)

    def read(self, texts: Sequence[str], *, name: str, kind: Kind = "control") -> _Source:
        return _Source(name, kind, texts, self.encoder.encode(texts), self.lsa.encode(texts))

    def score_task(self, examples: Sequence[Example], sources: Sequence[_Source], *, teacher: _Source) -> TaskScores:
        ceiling_N = metrics.semantic_consistency(teacher.semantic_NE, self._own(examples))
        texts = tuple(self._score(source, examples, ceiling_N) for source in sources)
        return TaskScores(task=examples[0].task, prompt=examples[0].prompt, entities=len(examples), texts=texts)

    def _score(self, source: _Source, examples: Sequence[Example], ceiling_N: NDArray[np.float64]) -> TextScores:
        vectors_NE = self._own(examples)
        own_N = [self.row_of[example.ids[0]] for example in examples]
        sc_N = metrics.semantic_consistency(source.semantic_NE, vectors_NE)
        floor_N = metrics.cross_consistency(source.semantic_NE, vectors_NE)
        ranks_N = metrics.identification_ranks(source.semantic_NE, self.candidates_ME, own_N)
        independent_N = metrics.identification_ranks(source.lexical_NL, self.references_ML, own_N)
        return TextScores(
            name=source.name,
            kind=source.kind,
            sc=metrics.mean_interval(sc_N, seed=self.seed),
            floor=metrics.mean_interval(floor_N, seed=self.seed),
            ceiling=metrics.mean_interval(ceiling_N, seed=self.seed),
            normalised=metrics.normalised_interval(sc_N, floor_N, ceiling_N, seed=self.seed),
            top1=metrics.mean_interval(metrics.found_within(ranks_N, 1), seed=self.seed),
            top10=metrics.mean_interval(metrics.found_within(ranks_N, 10), seed=self.seed),
            mean_rank=metrics.mean_interval(ranks_N, seed=self.seed),
            independent_top1=metrics.mean_interval(metrics.found_within(independent_N, 1), seed=self.seed),
            independent_top10=metrics.mean_interval(metrics.found_within(independent_N, 10), seed=self.seed),
            repetition=float(np.mean([metrics.repetition(text) for text in source.texts])),
            empty=sum(not text.strip() for text in source.texts),
            behaviour=self._behaviour(source, examples),
        )

    def _own(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """(N, E) of each example's entity in the space that judges."""
        return self.candidates_ME[[self.row_of[example.ids[0]] for example in examples]]

    def _behaviour(self, source: _Source, examples: Sequence[Example]) -> dict[str, metrics.Interval]:
        if self.behaviour is None:
            return {}
        measured = self.behaviour.consistency(source.semantic_NE, [example.ids[0] for example in examples])
        return {
            name: metrics.mean_interval(values_N[~np.isnan(values_N)], seed=self.seed)
            for name, values_N in measured.items()
        }


def _samples(
    space: Space, judge: Space, cohort: _Cohort, judged: Sequence[_JudgedTask], *, count: int
) -> Iterator[Sample]:
    shown: set[tuple[str, int]] = set()
    for k in range(count if judged else 0):
        task = judged[k % len(judged)]
        examples = cohort.examples[task.scores.task]
        row = k % len(examples)
        if (task.scores.task, row) not in shown:
            shown.add((task.scores.task, row))
            yield _sample(space, judge, examples[row], task.answers, row=row)


def _sample(space: Space, judge: Space, example: Example, answers: Sequence[_Source], *, row: int) -> Sample:
    told = []
    for source in answers:
        vector_1E = judge[example.ids[0]].vector[None]
        sc_1 = metrics.semantic_consistency(source.semantic_NE[row : row + 1], vector_1E)
        told.append(SampleAnswer(decoding=source.name, text=source.texts[row], consistency=float(sc_1[0])))
    id = example.ids[0]
    title = space.row(id).get("title")
    return Sample(task=example.task, id=id, title=title, target=example.target, answers=tuple(told))


# ---- loss


@dataclass(frozen=True, eq=False)
class _Losses:
    """One task's losses in nats per token, by (first) entity: examples that share it are not independent."""

    task: str
    slots: int
    examples: int
    right: Mapping[str, float]
    gap_shuffled: Mapping[str, float]
    gap_mean: Mapping[str, float]

    @staticmethod
    def of(elm: Elm, examples: Sequence[Example], *, seed: int, steps: _Steps) -> "_Losses":
        steps.begin(f"{examples[0].task}: loss")
        order = metrics.derangement(len(examples), seed=seed)
        right_N = elm.loss(examples)
        shuffled_N = elm.loss([replace(e, points=examples[j].points) for e, j in zip(examples, order, strict=True)])
        mean_N = elm.loss([_at_mean(elm, example) for example in examples])
        ids = [example.ids[0] for example in examples]
        return _Losses(
            task=examples[0].task,
            slots=len(examples[0].ids),
            examples=len(examples),
            right=metrics.mean_by(right_N, ids),
            gap_shuffled=metrics.mean_by(metrics.vector_use(right_N, shuffled_N), ids),
            gap_mean=metrics.mean_by(metrics.vector_use(right_N, mean_N), ids),
        )

    def scores(self, *, seed: int) -> LossScores:
        return LossScores(
            task=self.task,
            slots=self.slots,
            examples=self.examples,
            entities=len(self.right),
            right=metrics.mean_interval(list(self.right.values()), seed=seed),
            gap_shuffled=metrics.mean_interval(list(self.gap_shuffled.values()), seed=seed),
            gap_mean=metrics.mean_interval(list(self.gap_mean.values()), seed=seed),
        )


def _gap_of_each_entity(losses: Sequence[_Losses]) -> list[float]:
    """Mean gap to shuffled vectors over the one-slot tasks that each entity has."""
    gaps = [gap for loss in losses if loss.slots == 1 for gap in loss.gap_shuffled.items()]
    return list(metrics.mean_by([gap for _, gap in gaps], [id for id, _ in gaps]).values())
