"""Train the bundled film model: what the pocket base learns to read film vectors from.

    python pocket/film_elm.py ../shared/data runs/pocket/pocket runs/films   (goes on where it was)
    python pocket/film_elm.py ../shared/data src/vecspeak/data/films-elm runs/more   (trains the shipped model on)

900 films are too few to learn the mapping from a vector to words. So the film tasks are mixed with
tens of thousands of other films: one-liners and encyclopaedia extracts, each with the vector of its
own text; and with the training films again at other points of their neighbourhood: the averages of
random handfuls of their texts. Films of the validation and test sides are in none of it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from base import FRAMES
from corpus import Passage, held_out, passages, read_jsonl

from vecspeak import Example, Space, load_encoder, load_tasks
from vecspeak.bundled import bundled_model_path, bundled_space_path
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.encode import DEFAULT_ENCODER
from vecspeak.examples import make_examples, partner_pairs
from vecspeak.runs import Checkpoint
from vecspeak.sampling import Sampler
from vecspeak.stages import Progress, Stage, gate, start_adapter, train_stage
from vecspeak.store import POCKET, load, pocket_folder, save
from vecspeak.training import TrainConfig, manifest, new_elm

SHARES = {"film tasks": 0.26, "film neighbourhoods": 0.22, "oneliners": 0.34, "extracts": 0.06, "reviews": 0.06,
          "glosses": 0.06}  # fmt: skip
"""How often each group is drawn; reviews and glosses come without vectors, so that plain English stays."""
DECODING = Decoding(guidance=0.5, frequency_penalty=0.6)
"""How the shipped model answers unless told otherwise; chosen on validation films."""
DROPOUT = 0.1
"""Of the base while it trains on: 720 films are soon known by heart."""
ALIGN_STEPS = 60
BATCH = 64


def text_vectors(data: Path, source: str, cache: Path) -> np.ndarray:
    """(N, E) encodings of all texts of a source, computed once."""
    path = cache / f"{source}.npy"
    if not path.exists():
        if source == "films":
            films = read_jsonl(data / "films/films.jsonl")
            texts = [" ".join(v) if isinstance(v, list) else v for f in films for k, v in f.items() if k != "id"]
        else:
            texts = [item["text"] for item in read_jsonl(data / f"texts/film_{source}.jsonl.gz")]
        cache.mkdir(parents=True, exist_ok=True)
        np.save(cache / f"{source}.tmp.npy", load_encoder(DEFAULT_ENCODER).encode(texts))
        (cache / f"{source}.tmp.npy").rename(path)
    return np.load(path)


def other_films(found: Sequence[Passage], source: str, vectors: np.ndarray) -> list[Example]:
    """One example a text, its vector its own encoding."""
    frames = FRAMES[source]
    rows = [p for p in found if p.source == source and not held_out(p) and 6 <= len(p.text.split()) <= 75]
    return [
        Example(source, frames[i % len(frames)], {"x": vectors[p.row]}, p.text, (p.key,)) for i, p in enumerate(rows)
    ]


def plain(found: Sequence[Passage], source: str) -> list[Example]:
    """Text-only examples: a prompt without a slot."""
    rows = [p for p in found if p.source == source and not held_out(p)]
    ask = {"reviews": lambda p: "Write a film review.", "glosses": lambda p: f"What does '{p.kind}' mean?"}[source]
    return [Example(source, ask(p).replace("{", "").replace("}", ""), {}, p.text, (p.key,)) for p in rows]


def neighbourhoods(space: Space, films: Sequence[dict], vectors_NKE: np.ndarray, *, copies: int) -> list[Example]:
    """One-film tasks at other points: the mean of 3 to 8 of the film's 20 texts, the target's own among them or not.

    Summary and description, which say most about a film, come three times as often as the other tasks.
    """
    rng = np.random.default_rng(11)
    kinds = [key for key in films[0] if key != "id"]
    rows = {str(film["id"]): row for row, film in enumerate(films)}
    tasks = {name: task for name, task in load_tasks("films").items() if len(task.slots) == 1}
    weights = np.array([3.0 if name in ("summary", "description") else 1.0 for name in tasks])
    pair_texts = {"similarities", "difference", "interpolation", "why_like"}
    own = [k for k, kind in enumerate(kinds) if kind not in pair_texts]
    found = []
    for id, side in zip(space.ids, space.column("split"), strict=True):
        if side != "train":
            continue
        for name in rng.choice(list(tasks), size=copies, p=weights / weights.sum()):
            task, row = tasks[str(name)], space.row(id)
            target = task.target_text({"film": row})
            handful = rng.choice(own, size=rng.integers(3, 9), replace=False)
            vector = vectors_NKE[rows[id], handful].mean(0)
            assert target is not None
            prompt = task.prompts[rng.integers(len(task.prompts))]
            found.append(Example(task.name, prompt, {"film": vector / np.linalg.norm(vector)}, target, (id,)))
    return found


def mixture(space: Space, data: Path, vectors: Path) -> tuple[list[list[Example]], list[Example]]:
    """The groups of SHARES, in its order, and validation films' examples, every eighth."""
    tasks = load_tasks("films")
    side = dict(zip(space.ids, space.column("split"), strict=True))
    ids = {name: [i for i in space.ids if side[i] == name] for name in ("train", "validation")}
    pairs = partner_pairs(space)
    films = read_jsonl(data / "films/films.jsonl")
    film_vectors = text_vectors(data, "films", vectors)
    found = passages(data)
    groups = [
        make_examples(space, tasks, ids=ids["train"], pairs=pairs),
        neighbourhoods(space, films, film_vectors.reshape(len(films), -1, space.dimension), copies=24),
        *(other_films(found, s, text_vectors(data, s, vectors)) for s in ("oneliners", "extracts")),
        *(plain(found, source) for source in ("reviews", "glosses")),
    ]
    return groups, make_examples(space, tasks, ids=ids["validation"], pairs=pairs)[::8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("start", type=Path, help="a base, or a film model to train on")
    parser.add_argument("run", type=Path)
    parser.add_argument("--vectors", type=Path, default=Path("runs/vectors"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--lr", type=float, default=8e-4)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)

    space = Space.open(bundled_space_path())
    groups, validation = mixture(space, args.data, args.vectors)
    for name, group in zip(SHARES, groups, strict=True):
        print(f"{name}: {len(group)} examples", flush=True)
    shares = list(SHARES.values())
    sampler = Sampler(groups, shares, BATCH, seed=args.seed, vector_dropout=0.1, mean_E=space.mean_vector)

    align = Stage(name="align", train="adapter", steps=ALIGN_STEPS, batch_size=BATCH, adapter_lr=1e-3)
    tune = Stage(name="tune", train="all", steps=args.steps, batch_size=BATCH, lr=args.lr, adapter_lr=1.2e-3,
                 optimizer="muon", bag_loss=0.05, decay=0.9, checkpoint_every=50)  # fmt: skip
    going_on = (args.start / "elm.json").is_file()
    base = POCKET if going_on else str(args.start)
    stages = (tune,) if going_on else (align, tune)
    config = TrainConfig(space=bundled_space_path(), base=base, tasks="films", seed=args.seed, stages=stages)
    elm = load(args.start) if going_on else new_elm(config, space)
    for module in elm.base.modules():
        if going_on and isinstance(module, torch.nn.Dropout):
            module.p = DROPOUT
    if not going_on and Checkpoint.latest(args.run) is None:
        r2 = start_adapter(elm, [example for group in groups for example in group], start="texts", seed=0)
        print(f"warm start: R2 {r2:.3f}")
        for id in list(dict.fromkeys(example.ids[0] for example in validation))[:5]:
            print(f"  {space.row(id)['title']}: {' '.join(elm.words(space[id], 12))}", flush=True)

    def show(progress: Progress) -> None:
        if progress.step % 20 == 0:
            minutes = progress.seconds_left / 60
            print(f"{progress.stage} {progress.step} loss {progress.loss:.3f}, {minutes:.0f} min left", flush=True)

    for number, stage in enumerate(stages):
        latest = Checkpoint.latest(args.run)
        if latest is None or latest.stage <= number:
            train_stage(elm, stage, sampler, number=number, run=args.run, on_step=show)
            print(stage.name, gate(elm, validation), flush=True)
    counts = dict(zip(SHARES, map(len, groups), strict=True))
    ship(elm, config, examples=counts, dropout=DROPOUT if going_on else 0.0)


def ship(elm: Elm, config: TrainConfig, *, examples: dict[str, int], dropout: float) -> None:
    """Into the package: the base, which learnt with the adapter, as `pocket`, and the adapter as the film model."""
    elm.base.half().save_pretrained(pocket_folder())
    elm.tokenizer.save_pretrained(pocket_folder())
    elm.base.float()
    elm.decoding = DECODING
    provenance = {
        "shares": SHARES,
        "dropout": dropout,
        "examples": examples,
        "stages": [stage.model_dump() for stage in config.stages],
    }
    told = manifest(elm, config).model_copy(
        update={"base": POCKET, "change": "none", "space": None, "provenance": provenance}
    )
    save(elm, bundled_model_path(), manifest=told, half=True)


if __name__ == "__main__":
    main()
