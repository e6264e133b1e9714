"""A model for vLLM: the server's embeddings with the client's parts are those of our own forward, bit for bit."""

import base64
import importlib.util
import io
import json
import os
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from vecspeak.batching import asking_batch
from vecspeak.cli import main
from vecspeak.errors import ModelError
from vecspeak.export import export_vllm, merged
from vecspeak.prompts import render
from vecspeak.space import Space
from vecspeak.store import add_lora, save

PROMPT = "How does {x} differ from {y}?"


def export(elm, folder):
    export_vllm(elm, folder, name="toys", prompt="Describe {x}.", slot="x")
    spec = importlib.util.spec_from_file_location("vecspeak_client", folder / "vecspeak_client.py")
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    base = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    return client.Points(folder), base, AutoTokenizer.from_pretrained(folder / "base")


def as_vllm_reads(data):
    """`torch.load(weights_only=True)` of the decoded part, as in vLLM."""
    return torch.load(io.BytesIO(base64.b64decode(data)), weights_only=True)


def server_embeddings(parts, base, tokenizer):
    """What the server makes of the chat message: its own embeddings of the text, the client's of the points."""
    marked = "".join("\0" if part["type"] == "prompt_embeds" else part["text"] for part in parts)
    whole = tokenizer.apply_chat_template(
        [{"role": "user", "content": marked}], tokenize=False, add_generation_prompt=True
    )
    pieces = []
    soft = iter(part["data"] for part in parts if part["type"] == "prompt_embeds")
    for number, text in enumerate(whole.split("\0")):
        if number:
            pieces.append(as_vllm_reads(next(soft)))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces.append(base.get_input_embeddings()(torch.tensor(ids)))
    return torch.cat(pieces)


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("tokens_per_vector", [1, 3])
@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
@torch.inference_mode()
def test_embeddings_are_those_of_our_own_forward(kind, tokens_per_vector, chat, tmp_path):
    elm = tiny.elm(kind, tokens_per_vector=tokens_per_vector)
    elm.tokenizer = tiny.tokenizer(chat=chat)
    elm.adapter.scale_E[2] = 1e-9  # a dimension that is constant in the data, and so says nothing
    x, y = tiny.vectors(2, seed=5)
    points, base, tokenizer = export(elm, tmp_path / "out")

    prompt = render(elm.tokenizer, PROMPT, tokens_per_vector)
    ours = elm.embed(asking_batch([prompt], [{"x": x, "y": y}]))[0]
    theirs = server_embeddings(points.content(PROMPT, x=x, y=y), base, tokenizer)
    assert torch.equal(theirs, ours)
    logits = base(inputs_embeds=theirs[None]).logits
    assert torch.equal(logits, elm.base(inputs_embeds=ours[None]).logits)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@torch.inference_mode()
def test_lora_is_merged(kind, tmp_path):
    elm = tiny.elm(kind)
    before = elm.base(input_ids=torch.arange(20)[None]).logits
    add_lora(elm.base, rank=4)
    for name, weight in elm.base.named_parameters():
        if "lora_" in name:
            weight.normal_(std=0.2)
    ours = elm.base(input_ids=torch.arange(20)[None]).logits
    assert not torch.allclose(ours, before, atol=0.1)
    _, base, _ = export(elm, tmp_path / "out")
    assert not any("lora" in name for name in base.state_dict())
    assert torch.allclose(base(input_ids=torch.arange(20)[None]).logits, ours, atol=1e-3)
    # and the model that was exported has not changed
    assert torch.equal(elm.base(input_ids=torch.arange(20)[None]).logits, ours)


def test_a_base_without_lora_is_not_copied():
    base = tiny.base()
    assert merged(base) is base


def test_nothing_but_tensors_is_in_a_part(tmp_path):
    points, _, _ = export(tiny.elm(tokens_per_vector=2), tmp_path / "out")
    parts = points.content("Describe {x}.", x=tiny.vectors(1)[0])
    assert [part["type"] for part in parts] == ["text", "prompt_embeds", "text"]
    embeds = as_vllm_reads(parts[1]["data"])
    assert (embeds.shape, embeds.dtype, embeds.is_contiguous()) == ((2, tiny.D), torch.float32, True)
    assert embeds.untyped_storage().nbytes() == embeds.nbytes, "a view would send all the points with it"


@pytest.mark.parametrize("vector", [np.zeros(5), np.full(6, np.nan), np.zeros((2, 6))])
def test_the_client_refuses_what_is_no_vector(tmp_path, vector):
    points, _, _ = export(tiny.elm(), tmp_path / "out")
    with pytest.raises(ValueError, match="vectors of 6 numbers"):
        points.content("Describe {x}.", x=vector)


def test_the_readme_tells_how_this_model_is_asked(tmp_path):
    elm = tiny.elm()
    elm.decoding = elm.decoding.but(guidance=0.5, frequency_penalty=0.6, max_tokens=50)
    export(elm, tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "max_tokens=50, temperature=0, frequency_penalty=0.6" in readme
    assert "guidance 0.5 by itself, which vLLM does not offer" in readme
    assert "points.content('Describe {x}.', x=vector)    # 6 numbers" in readme


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(ModelError, match="exists already"):
        export_vllm(tiny.elm(), tmp_path / "mine", name="x", prompt="{x}", slot="x")
    with pytest.raises(ModelError, match="cannot be written"):
        export_vllm(tiny.elm(), tmp_path / "mine" / "out", name="x", prompt="{x}", slot="x")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_writes_the_folder(tmp_path, capsys):
    space = Space.create(tmp_path / "s.lance", ids=["a", "b"], vectors=tiny.vectors(2), name="s")
    elm = tiny.elm(space=space)
    elm.base.save_pretrained(tmp_path / "base")
    elm.tokenizer.save_pretrained(tmp_path / "base")
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base=str(tmp_path / "base")))
    command = ["export", "vllm", str(tmp_path / "model"), str(tmp_path / "out"), "--space", str(space.path)]
    assert main(command) == 0
    assert "LlamaForCausalLM with its adapter" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "base", "adapter.safetensors", "vecspeak_client.py", "README.md",
    }  # fmt: skip
    assert main(command) == 2


@pytest.mark.external
def test_vllm_says_what_we_say(tmp_path):
    """A real server, where vLLM is installed: greedy answers are ours."""
    pytest.importorskip("vllm")
    elm = tiny.elm("llama")
    points, _, _ = export(elm, tmp_path / "out")
    x = tiny.vectors(1)[0]
    ours = elm.ask("Describe {x}.", x=x, max_tokens=12)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tmp_path / "out" / "base"),
               "--served-model-name", "toys", "--enable-prompt-embeds", "--dtype", "float32",
               "--port", "8765"]  # fmt: skip
    with subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as server:
        try:
            end = time.monotonic() + 300
            while time.monotonic() < end and server.poll() is None:
                try:
                    httpx.get("http://127.0.0.1:8765/health")
                    break
                except httpx.TransportError:
                    time.sleep(1)
            body = {"model": "toys", "max_tokens": 12, "temperature": 0}
            messages = [{"role": "user", "content": points.content("Describe {x}.", x=x)}]
            url = "http://127.0.0.1:8765/v1/chat/completions"
            told = httpx.post(url, content=json.dumps({**body, "messages": messages}), timeout=120).json()
            assert told["choices"][0]["message"]["content"].strip() == ours.text
        finally:
            server.terminate()
