"""The base's word space: which words lie where, and where a text lies in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WORD_BEGINS = ("Ġ", "▁")  # the marks of byte-level and of SentencePiece tokenizers


def embedding_of(base: PreTrainedModel) -> nn.Embedding:
    """The table that turns token ids into the base's first layer's inputs; some bases scale what it returns."""
    return cast(nn.Embedding, base.get_input_embeddings())


@dataclass(frozen=True)
class WholeWords:
    """The vocabulary's whole words, with unit embeddings centred on the vocabulary's mean."""

    names: list[str]
    ids: list[int]
    unit_WD: Tensor
    centre_D: Tensor
    continues_V: Tensor
    """Tokens that go on with a word: what follows a token that is no whole word after all."""

    def nearest(self, soft_KD: Tensor, k: int) -> dict[str, int]:
        """The k words of highest cosine to any of the soft tokens, in lower case, each once, with its token's id."""
        centred_KD = nn.functional.normalize(soft_KD - self.centre_D, dim=-1)
        order = (centred_KD @ self.unit_WD.T).amax(0).argsort(descending=True)
        found: dict[str, int] = {}
        for column in order.tolist():
            found.setdefault(self.names[column].casefold(), self.ids[column])
            if len(found) == k:
                break
        return found


def whole_words(tokenizer: PreTrainedTokenizerBase, table_VD: Tensor) -> WholeWords:
    """Tokens that can be a word by themselves and say something: they begin one, are letters only, at least three,
    and no stop word of English, since "the" is near to every vector and tells of none."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # slow to import, and not every answer needs it

    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    marked = any(piece.startswith(_WORD_BEGINS) for piece in pieces)
    begins = [piece.startswith(_WORD_BEGINS) if marked else not piece.startswith("##") for piece in pieces]
    names = [piece.lstrip("".join(_WORD_BEGINS)) for piece in pieces]
    ids = [i for i, name in enumerate(names) if begins[i] and _tells(name, ENGLISH_STOP_WORDS)]
    centre_D = table_VD.mean(0)
    unit_WD = nn.functional.normalize(table_VD[ids] - centre_D, dim=-1)
    continues_V = [not begins[i] and names[i].removeprefix("##")[:1].isalpha() for i in range(len(names))]
    return WholeWords(
        [names[i] for i in ids], ids, unit_WD, centre_D, torch.tensor(continues_V, device=table_VD.device)
    )


def inverse_frequency(texts: Sequence[Sequence[int]], vocabulary: int) -> Tensor:
    """idf (V,): log(N / (1 + n)) of token ids, n of N texts hold it; at least 0, the weight of what all texts say."""
    counts_V = torch.zeros(vocabulary)
    for ids in texts:
        counts_V[list(set(ids))] += 1
    return torch.log(len(texts) / (1.0 + counts_V)).clamp(min=0)


def mean_embeddings(texts: Sequence[Sequence[int]], idf_V: Tensor, table_VD: Tensor) -> Tensor:
    """(N, D): the idf-weighted mean token embedding of each text; zeros for a text without any weight."""
    flat = torch.tensor([token for ids in texts for token in ids], dtype=torch.long)
    offsets = torch.tensor([0, *(len(ids) for ids in texts)][:-1]).cumsum(0)
    weights = idf_V[flat]
    sums_ND = nn.functional.embedding_bag(flat, table_VD, offsets, mode="sum", per_sample_weights=weights)
    owner = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor([len(ids) for ids in texts]))
    totals_N = torch.zeros(len(texts)).index_add_(0, owner, weights)
    return sums_ND / totals_N[:, None].clamp(min=1e-6)


def _tells(name: str, stop_words: frozenset[str]) -> bool:
    return len(name) > 2 and name.isalpha() and name.casefold() not in stop_words
