"""Equal-time comparisons: what of the training helps, each arm given the same processor time on the same data.

    python pocket/compare.py ../shared/data runs/pocket/tokenizer runs/pocket/pocket --seconds 240

Roads to a base: a small Llama from random weights with Muon, the sentence encoder's weights as a decoder with AdamW
and with Muon. Then, on the pocket base before it has seen a film vector: what each option of the library adds to
one setting. Held out: validation films, right against shuffled vectors, nats per token.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from base import initial_model
from film_elm import SHARES, mixture
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from vecspeak import Example, Space
from vecspeak.adapter import Adapter
from vecspeak.bundled import bundled_space_path
from vecspeak.elm import Elm, Fingerprint
from vecspeak.sampling import Sampler
from vecspeak.stages import Stage, gate, start_adapter, train_stage
from vecspeak.store import load_base

SETTING = {"tokens_per_vector": 1, "start": "texts", "bag_loss": 0.05, "vector_dropout": 0.1, "optimizer": "adamw",
           "lr": 6e-4}  # fmt: skip
ROADS = {
    "Llama 6 x 256, random weights, Muon": {"start": "random", "optimizer": "muon", "lr": 3e-3},
    "encoder as decoder, AdamW": {"lr": 8e-4},
    "encoder as decoder, Muon": {"lr": 8e-4, "optimizer": "muon"},
}
OPTIONS = {
    "setting": {},
    "4 tokens per vector": {"tokens_per_vector": 4},
    "adapter from random weights": {"start": "random"},
    "no bag-of-words loss": {"bag_loss": 0.0},
    "no vector dropout": {"vector_dropout": 0.0},
    "Muon": {"optimizer": "muon"},
}


def llama(vocabulary: int) -> LlamaForCausalLM:
    """The random road's model."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary, hidden_size=256, intermediate_size=704, num_hidden_layers=6,
                    num_attention_heads=8, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1, pad_token_id=0,
                    max_position_embeddings=512)
    )  # fmt: skip


def trained(
    name: str, base: PreTrainedModel, tokenizer, space: Space, groups: list[list[Example]], seconds: float, **changes
) -> tuple[Elm, int, float]:  # fmt: skip
    """An Elm after so many seconds of joint training, its steps, and the seconds they took."""
    setting = {**SETTING, **changes}
    fingerprint = Fingerprint.of(space)
    adapter = Adapter(torch.tensor(fingerprint.mean), torch.tensor(fingerprint.scale), hidden=1024,
                      dim_out=base.get_input_embeddings().embedding_dim,
                      tokens_per_vector=setting["tokens_per_vector"])  # fmt: skip
    elm = Elm(base, tokenizer, adapter, fingerprint, space=space)
    start_adapter(elm, [example for group in groups for example in group], start=setting["start"], seed=0)
    begin = {key: value.clone() for key, value in elm.state_dict().items()}

    def run(steps: int) -> float:
        stage = Stage(name=name, train="all", steps=steps, batch_size=32, lr=setting["lr"], adapter_lr=1.5e-3,
                      optimizer=setting["optimizer"], bag_loss=setting["bag_loss"], decay=0.7,
                      checkpoint_every=10**6)  # fmt: skip
        sampler = Sampler(groups, list(SHARES.values()), 32, seed=3, vector_dropout=setting["vector_dropout"],
                          mean_E=space.mean_vector)  # fmt: skip
        clock: list[float] = []
        with TemporaryDirectory() as folder:
            train_stage(
                elm, stage, sampler, number=0, run=Path(folder), on_step=lambda p: clock.append(time.process_time())
            )
        return clock[-1] - clock[0]

    pace = run(9) / 8
    elm.load_state_dict(begin)
    steps = max(1, round(seconds / pace))
    return elm, steps, run(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("base", type=Path, help="the pocket base as base.py leaves it")
    parser.add_argument("--vectors", type=Path, default=Path("runs/vectors"))
    parser.add_argument("--seconds", type=float, default=240, help="of processor time, so that a busy machine is fair")
    parser.add_argument("--only", nargs="*", help="names of arms")
    args = parser.parse_args()
    space = Space.open(bundled_space_path())
    groups, validation = mixture(space, args.data, args.vectors)
    groups = [group[:5_000] for group in groups]  # an arm sees no more than that
    validation = validation[::3]
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    print("| arm | steps | seconds | loss, right vectors | shuffled | gap |\n|---|---|---|---|---|---|", flush=True)
    for name, changes in {**ROADS, **OPTIONS}.items():
        if args.only and name not in args.only:
            continue
        if name.startswith("Llama"):
            base: PreTrainedModel = llama(len(tokenizer))
        elif name in ROADS:
            base = initial_model(tokenizer, torch.full((len(tokenizer),), 1 / len(tokenizer)))
        else:
            base = load_base(str(args.base))[0]
        elm, steps, seconds = trained(name, base, tokenizer, space, groups, args.seconds, **changes)
        told = gate(elm, validation)
        print(
            f"| {name} | {steps} | {seconds:.0f} | {told.right:.3f} | {told.shuffled:.3f} | {told.gap:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
