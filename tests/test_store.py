"""The model folder: what goes in comes out, and what cannot be trusted is refused."""

import json
import shutil

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tiny import D, E, vectors

import vecspeak
from vecspeak.adapter import Adapter
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.errors import ModelError
from vecspeak.space import Space
from vecspeak.store import Manifest, add_lora, check_space, load, load_base, read_manifest, save

POINTS = vectors(3)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory):
    """A tiny base as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("base")
    tiny.base().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory, base_folder):
    folder = tmp_path_factory.mktemp("models") / "model"
    elm = tiny.elm()
    save(elm, folder, manifest=tiny.manifest(elm, base=str(base_folder)))
    return folder


@pytest.fixture
def saved(tmp_path, saved_once):
    """A model folder to damage."""
    return shutil.copytree(saved_once, tmp_path / "model")


def answers(elm: Elm) -> list[str]:
    return [elm.ask("Describe {x}.", max_tokens=8, x=point).text for point in POINTS]


def edited(folder, **changes):
    path = folder / "elm.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# ---- round trips


def test_an_unchanged_base_is_not_copied(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["adapter.safetensors", "elm.json"]
    loaded, elm = vecspeak.load(saved), tiny.elm()
    assert answers(loaded) == answers(elm)
    for name, tensor in elm.adapter.state_dict().items():
        assert torch.equal(loaded.adapter.state_dict()[name], tensor)
    assert np.array_equal(loaded.fingerprint.mean, elm.fingerprint.mean)
    assert (loaded.fingerprint.dimension, loaded.fingerprint.metric) == (E, "cosine")
    assert loaded.fingerprint.encoder is None
    assert not loaded.training


@pytest.mark.parametrize("kind", ["llama", "gemma3", "bert"])
def test_a_changed_base_is_kept_whole(kind, tmp_path):
    elm = tiny.elm(kind, tokens_per_vector=2)
    with torch.no_grad():
        for parameter in elm.base.parameters():
            parameter.add_(0.01)
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base="was/elsewhere", change="full"))
    loaded = load(tmp_path / "model")
    for name, parameter in elm.base.named_parameters():
        assert torch.equal(dict(loaded.base.named_parameters())[name], parameter), name
    assert answers(loaded) == answers(elm)


def test_lora_is_kept_apart_from_the_base(tmp_path, base_folder):
    elm = tiny.elm()
    torch.manual_seed(0)
    add_lora(elm.base, rank=2)
    with torch.no_grad():
        for name, parameter in elm.base.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    assert answers(elm) != answers(tiny.elm())
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base=str(base_folder), change="lora"))
    assert answers(load(tmp_path / "model")) == answers(elm)
    size = sum(path.stat().st_size for path in (tmp_path / "model" / "lora").iterdir())
    assert size < (base_folder / "model.safetensors").stat().st_size / 4


def test_half_precision_halves_the_files_and_leaves_the_model_alone(tmp_path):
    elm = tiny.elm()
    before = {name: tensor.clone() for name, tensor in elm.state_dict().items()}
    manifest = tiny.manifest(elm, base="x", change="full")
    save(elm, tmp_path / "whole", manifest=manifest)
    save(elm, tmp_path / "half", manifest=manifest, half=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in elm.state_dict().items())
    weights = load_file(tmp_path / "half" / "base" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    stored = load_file(tmp_path / "half" / "adapter.safetensors")
    assert (stored["rise.weight"].dtype, stored["mean_E"].dtype) == (torch.float16, torch.float32)
    loaded = load(tmp_path / "half")
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-3, atol=1e-4)
    assert loaded.adapter.rise.weight.dtype == torch.float32


def deep_elm(depth: int) -> Elm:
    elm = tiny.elm()
    adapter = Adapter(
        elm.adapter.mean_E, elm.adapter.scale_E, dim_out=D, hidden=24, tokens_per_vector=2, depth=depth
    )  # fmt: skip
    adapter.start_random(rms=0.3, seed=1)
    return Elm(elm.base, elm.tokenizer, adapter, elm.fingerprint).eval()


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_an_adapter_of_any_depth_comes_back(depth, tmp_path, base_folder):
    elm = deep_elm(depth)
    told = tiny.manifest(elm, base=str(base_folder)).model_copy(update={"depth": depth})
    save(elm, tmp_path / "model", manifest=told)
    save(elm, tmp_path / "half", manifest=told, half=True)
    loaded = load(tmp_path / "model")
    assert (loaded.adapter.depth, loaded.adapter.hidden) == (depth, 24)
    assert answers(loaded) == answers(elm)
    for name, tensor in elm.adapter.state_dict().items():
        assert torch.equal(loaded.adapter.state_dict()[name], tensor), name
    stored = load_file(tmp_path / "half" / "adapter.safetensors")
    whole = {name for name, tensor in stored.items() if tensor.dtype == torch.float32}
    assert whole == {"mean_E", "scale_E"}


def test_a_folder_that_does_not_say_its_depth_has_two_layers(saved):
    path = saved / "elm.json"
    content = json.loads(path.read_text())
    assert content.pop("depth") == 2
    path.write_text(json.dumps(content))
    assert load(saved).adapter.depth == 2
    assert answers(load(saved)) == answers(tiny.elm())


def test_saving_replaces_the_old_folder_and_leaves_nothing_beside(tmp_path):
    elm = tiny.elm()
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base="x", change="full"))
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base="y"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["adapter.safetensors", "elm.json"]
    assert read_manifest(tmp_path / "model").base == "y"


def test_a_save_that_fails_leaves_the_old_folder(tmp_path, monkeypatch):
    elm = tiny.elm()
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base="old"))
    monkeypatch.setattr(elm.tokenizer, "save_pretrained", lambda folder: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base="new", change="full"))
    assert read_manifest(tmp_path / "model").base == "old"


def test_the_manifest_keeps_every_field(tmp_path):
    elm = tiny.elm()
    told = tiny.manifest(elm, base="x").model_copy(
        update={"revision": "abc", "provenance": {"seed": 3}, "scores": {"gap": 0.5}, "encoder": "letters",
                "decoding": Decoding(guidance=1.0, frequency_penalty=0.5)}
    )  # fmt: skip
    save(elm, tmp_path / "model", manifest=told)
    assert read_manifest(tmp_path / "model") == told


def test_a_model_answers_as_its_manifest_says(saved):
    edited(saved, decoding={"guidance": 1.5, "max_tokens": 7})
    assert load(saved).decoding == Decoding(guidance=1.5, max_tokens=7)


# ---- refusals


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"no elm\.json"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "not valid JSON"),
        ("\udcff", "not valid JSON"),
        ("[]", "has format None; this version reads 1"),
        ('{"format": 2}', "has format 2; this version reads 1. Upgrade"),
        ('{"format": 1}', "base: Field required"),
    ],
)
def test_a_damaged_or_newer_manifest(saved, content, match):
    (saved / "elm.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=match):
        load(saved)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dimension": 0}, "dimension: "),
        ({"change": "some"}, "change: "),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"width": 64}, "embeddings of width 32, the adapter makes 64"),
        ({"hidden": 25}, r"does not load as the adapter of elm\.json: .* size mismatch for rise"),
        ({"dimension": 7}, "does not load as the adapter"),
        ({"tokens_per_vector": 2}, "does not load as the adapter"),
        ({"depth": 1}, "does not load as the adapter"),
        ({"depth": 3}, "does not load as the adapter"),
        ({"depth": 5}, "depth: "),
        ({"change": "lora"}, "no adapter_model.safetensors"),
        ({"change": "full"}, "does not load"),
        ({"base": "nobody/nothing"}, "Base 'nobody/nothing' does not load"),
        ({"base": "no such base!"}, "does not load"),
    ],
)
def test_parts_that_do_not_fit(saved, changes, match):
    edited(saved, **changes)
    with pytest.raises(ModelError, match=match) as caught:
        load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x10\0\0\0\0\0\0\0{}"])
def test_corrupt_weights(saved, content):
    (saved / "adapter.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"adapter.safetensors does not load"):
        load(saved)


def test_missing_weights(saved):
    (saved / "adapter.safetensors").unlink()
    with pytest.raises(ModelError, match=r"adapter.safetensors does not load"):
        load(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(saved, value):
    weights = load_file(saved / "adapter.safetensors")
    weights["fall.weight"][3, 2] = value
    save_file(weights, saved / "adapter.safetensors")
    with pytest.raises(ModelError, match="NaN or infinity"):
        load(saved)


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "no config", "no tokenizer", "pickle"])
def test_a_base_that_cannot_be_trusted(saved, tmp_path, base_folder, damage):
    base = shutil.copytree(base_folder, tmp_path / "base")
    weights = base / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:2000])
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "no config":
        (base / "config.json").unlink()
    elif damage == "no tokenizer":
        for path in base.glob("tokenizer*"):
            path.unlink()
    else:
        if damage == "pickle":
            torch.save(load_file(weights), base / "pytorch_model.bin")
        weights.unlink()
    edited(saved, base=str(base))
    with pytest.raises(ModelError, match="does not load"):
        load(saved)


def test_a_lora_that_is_a_pickle_is_refused(tmp_path, base_folder):
    elm = tiny.elm()
    add_lora(elm.base, rank=2)
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base=str(base_folder), change="lora"))
    weights = tmp_path / "model" / "lora" / "adapter_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ModelError, match=r"no adapter_model.safetensors"):
        load(tmp_path / "model")
    weights.write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match="does not load as LoRA"):
        load(tmp_path / "model")


def test_remote_code_is_refused_without_asking(tmp_path, base_folder):
    base = shutil.copytree(base_folder, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (base / "config.json").write_text(json.dumps(config))
    (base / "own.py").write_text("raise SystemExit('ran remote code')")
    with pytest.raises(ModelError, match="does not load"):
        load_base(str(base))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({}, None),
        ({"metric": "dot"}, "vectors of metric cosine, space 'other' has dot"),
        ({"encoder": "letters"}, "vectors of encoder None, space 'other' has letters"),
        ({"vectors": np.ones((3, E + 1))}, "vectors of dimension 6, space 'other' has 7"),
    ],
)
def test_a_space_of_another_kind(saved, tmp_path, changes, match):
    given = {"vectors": POINTS, "ids": ["a", "b", "c"], "name": "other", **changes}
    space = Space.create(tmp_path / "space", **given)
    if match is None:
        assert load(saved, space=space).space is space
        return
    with pytest.raises(ModelError, match=match):
        load(saved, space=space)
    with pytest.raises(ModelError, match=match):
        check_space(tiny.elm().fingerprint, space)


def test_a_manifest_is_checked_when_it_is_made():
    with pytest.raises(ValueError, match="width"):
        Manifest(base="x", change="none", dimension=1, hidden=1, width=0, tokens_per_vector=1, metric="dot",
                 encoder=None, tasks="t")  # fmt: skip
