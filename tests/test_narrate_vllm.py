"""Narration by a server that takes soft tokens as vLLM does: the rows are those of one process.

The server is a stand-in with the exported base; a real vLLM is asked in test_export.py, where there is one.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from test_export import server_embeddings
from test_narrate import PROMPT, ROWS, job_of, narrated
from test_narrate import folder as folder
from tiny import vectors
from transformers import AutoModelForCausalLM, AutoTokenizer

from vecspeak.cli import main
from vecspeak.decoding import Decoding
from vecspeak.errors import ModelError
from vecspeak.export import export_vllm
from vecspeak.narrate import narrate_to
from vecspeak.narrate_vllm import OnVllm
from vecspeak.prompts import end_token
from vecspeak.space import Space
from vecspeak.store import load, save


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """An app on a free port; its URL with /v1."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


def stand_in(folder: Path) -> FastAPI:
    """The exported base behind the two calls that are made of a vLLM server."""
    export_vllm(load(folder / "model"), folder / "exported", name="toys", prompt="Describe {x}.", slot="x")
    base = AutoModelForCausalLM.from_pretrained(folder / "exported/base").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "exported/base")
    named = base.generation_config.eos_token_id
    ends = [*(named if isinstance(named, list) else [named]), end_token(tokenizer)]
    app = FastAPI()

    def text_of(body: dict) -> str:
        parts = body["messages"][0]["content"]
        if body["temperature"] > 0:
            return "abcdef"[body["seed"] % 6]
        with torch.inference_mode():
            embeds = server_embeddings(parts, base, tokenizer)[None]
            ids = base.generate(
                inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2]), max_new_tokens=body["max_tokens"],
                do_sample=False, eos_token_id=ends, pad_token_id=0,
            )  # fmt: skip
        written = ids[0].tolist()
        return tokenizer.decode(written[:-1] if written[-1] in ends else written, skip_special_tokens=True)

    @app.get("/v1/models")
    def models() -> dict:
        return {"data": [{"id": "toys"}]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> dict:
        body = await request.json()
        assert body["model"] == "toys"
        message = {"role": "assistant", "content": await run_in_threadpool(text_of, body)}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    return app


@pytest.fixture(scope="module")
def app(folder: Path) -> FastAPI:
    return stand_in(folder)


def test_the_rows_are_those_of_one_process(folder, app, tmp_path):
    expected = narrated(job_of(folder), tmp_path / "local.parquet")
    out = tmp_path / "vllm.parquet"
    done: list[int] = []
    with served(app) as url:
        narrate_to(
            out, job_of(folder), engine=lambda job: OnVllm(job, url=url, key=None), checkpoint_every=7,
            on_rows=done.append,
        )  # fmt: skip
    assert pq.read_table(out).equals(expected)
    assert sum(done) == ROWS


def test_the_best_sample_is_the_nearest_to_the_point(tmp_path, monkeypatch):
    """The stand-in samples a letter by the seed; the encoder counts letters, so the best can be computed by hand."""
    monkeypatch.setattr("vecspeak.narrate_vllm.load_encoder", lambda name: tiny.LetterEncoder())
    ids = [f"e{i}" for i in range(9)]
    space = Space.create(tmp_path / "space.lance", ids=ids, vectors=vectors(9), name="things", encoder="letters")
    elm = tiny.elm(space=space)
    elm.base.save_pretrained(tmp_path / "base")
    elm.tokenizer.save_pretrained(tmp_path / "base")
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base=str(tmp_path / "base")))
    job = job_of(tmp_path, rows=9, decoding=Decoding(best_of=4, seed=2))
    with served(stand_in(tmp_path)) as url:
        narrate_to(tmp_path / "out.parquet", job, engine=lambda job: OnVllm(job, url=url, key=None))
    letters = [(2 * 1009 + sample) % 6 for sample in range(4)]
    unit_NE = space.vectors / np.linalg.norm(space.vectors, axis=1, keepdims=True)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("text").to_pylist() == ["abcdef"[letters[best]] for best in unit_NE[:, letters].argmax(1)]
    np.testing.assert_allclose(table.column("consistency").to_numpy(), unit_NE[:, letters].max(1), rtol=1e-5)


def test_a_server_that_gives_up_loses_no_part(folder, app, tmp_path, monkeypatch):
    monkeypatch.setattr("vecspeak.endpoint.MAX_RETRIES", 0)
    out, asked = tmp_path / "out.parquet", iter(range(1_000))
    broken = refusing(app, lambda: next(asked) > 12)
    with served(broken) as url, pytest.raises(ModelError, match="503"):
        narrate_to(out, job_of(folder), engine=lambda job: OnVllm(job, url=url, key=None), checkpoint_every=5)
    assert not out.exists()
    with served(app) as url:
        done = narrate_to(out, job_of(folder), engine=lambda job: OnVllm(job, url=url, key=None), checkpoint_every=5)
    assert done == ROWS - 10
    assert pq.read_table(out).equals(narrated(job_of(folder), tmp_path / "local.parquet"))


def refusing(app: FastAPI, refuses: Callable[[], bool]) -> FastAPI:
    """The same server, which refuses questions when told."""
    broken = FastAPI()

    @broken.middleware("http")
    async def refuse(request: Request, go_on: Callable) -> Response:
        if request.method == "POST" and refuses():
            return Response(status_code=503)
        return await go_on(request)

    broken.mount("/", app)
    return broken


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--guidance", "0.5"], "Guidance is 0.5, which vLLM does not offer"),
        (["--best-of", "2"], "a server does not tell support"),
        ([], "cannot be reached"),
    ],
)
def test_what_cannot_be_had_from_a_server_is_said_before_any_row(folder, tmp_path, capsys, options, why):
    command = ["narrate", str(folder / "model"), str(folder / "space.lance"), "--prompt", PROMPT,
               "--out", str(tmp_path / "out.parquet"), "--engine", "vllm"]  # fmt: skip
    assert main([*command, "--url", "http://127.0.0.1:9/v1", *options]) == 2
    assert why in " ".join(capsys.readouterr().err.split())
    assert main(command) == 2
    assert "vllm and --url go together" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("told", "why"),
    [({"data": []}, "serves no model"), ({"hello": 1}, "no models.*ends with /v1.*hello"), (404, "no models.*404"),
     (401, "refuses the key")],
)  # fmt: skip
def test_a_server_without_a_model_is_refused(folder, told, why):
    app = FastAPI()
    app.get("/v1/models")(lambda: told if isinstance(told, dict) else Response(status_code=told))
    with served(app) as url, pytest.raises(ModelError, match=why):
        OnVllm(job_of(folder), url=url, key=None)
