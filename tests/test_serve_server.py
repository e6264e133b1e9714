"""`vecspeak serve`: where it listens, who may reach it, how it starts and stops."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from serving import toy_space

from vecspeak.bundled import bundled_space_path
from vecspeak.cli import main
from vecspeak.errors import ConfigError
from vecspeak.serve.layouts import digest_of
from vecspeak.serve.mapping import write_layout
from vecspeak.serve.server import access_to, check_origins, is_loopback, listen, tasks_of
from vecspeak.space import Space

TOKEN = "0123456789abcdef"


def test_nothing_listens_beyond_loopback_by_default():
    bound = listen("127.0.0.1", 0)
    assert bound.getsockname()[0] == "127.0.0.1"
    bound.close()


def test_a_port_that_is_taken_is_said_before_the_model_is_opened(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        start = time.monotonic()
        assert main(["serve", "no-such-model", "--port", str(port)]) == 2
    assert f"Port {port} of 127.0.0.1 cannot be had (Address already in use)" in capsys.readouterr().err
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_beyond_loopback_a_token_is_needed(host):
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="can be reached from other machines, so it needs a token"):
        access_to(host, None)
    assert access_to(host, TOKEN).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_none_is_needed_but_only_its_names_are_answered(host):
    access = access_to(host, None)
    assert access.token is None
    assert host in access.hosts
    assert "example.com" not in access.hosts
    assert access_to(host, TOKEN).hosts is None


@pytest.mark.parametrize("token", ["", "short", "a-token with blanks"])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token):
    with pytest.raises(ConfigError, match="token"):
        access_to("0.0.0.0", token)


@pytest.mark.parametrize(
    ("host", "message"), [("no.such.host.invalid", "is no address"), ("192.0.2.1", "cannot be had")]
)
def test_an_address_that_is_not_ours(host, message):
    with pytest.raises(ConfigError, match=message):
        listen(host, 0)


def test_an_origin_that_no_browser_sends_is_refused(capsys):
    check_origins(["https://a.example", "http://localhost:5173", "*"])
    for origin in ("https://a.example/", "a.example", "https://"):
        assert main(["serve", "no-such-model", "--port", "0", "--cors", origin]) == 2
        assert f"--cors {origin} is no origin" in capsys.readouterr().err


def test_tasks_that_are_gone_are_replaced_and_that_is_said(tmp_path, caplog):
    import tiny

    from vecspeak.store import save

    elm = tiny.elm(space=toy_space(tmp_path))
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base="none").model_copy(update={"tasks": "gone.toml"}))
    assert [task.name for task in tasks_of(tmp_path / "model")][:1] == ["describe"]
    assert "gone.toml" in caplog.text


@pytest.fixture
def server(tmp_path):
    """`vecspeak serve films` as a user starts it, on a free port, with its maps in a cache of its own."""
    films = Space.open(bundled_space_path())
    kept = tmp_path / "vecspeak" / "layouts" / f"umap-{digest_of(films)}.npy"
    write_layout(kept, films.vectors[:, :2])  # else it would be computed beside the test, for half a minute
    environment = {**os.environ, "VECSPEAK_TOKEN": TOKEN, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "vecspeak.cli", "serve", "films", "--port", "0", "--timeout", "600"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        greeting = ""
        while "stops." not in greeting:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            greeting += line
        yield process, greeting
        process.kill()


def test_films_are_served_until_the_server_is_told_to_stop(server, capsys):
    process, greeting = server
    address = re.search(r"explore +(\S+)", greeting)[1]
    assert "films: 900 entities of films, 384 dimensions" in greeting
    _, url, *options = shlex.split(greeting[greeting.index("curl") : greeting.index("Ctrl-C")].replace("\\\n", " "))
    body = options[options.index("-d") + 1]
    assert "Authorization: Bearer $VECSPEAK_TOKEN" in options
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    assert httpx.get(f"{address}/v1/models").status_code == 401
    answer = httpx.post(url, content=body, headers=headers, timeout=600).json()
    assert answer["choices"][0]["vecspeak"]["consistency"] > 0.3
    run_guide(address)
    assert "0." in capsys.readouterr().out
    with httpx.stream("POST", url, headers=headers, timeout=600, json={
        "model": "films", "stream": True, "max_tokens": 100, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Describe "}, {"type": "entity", "entity": "296"}]}]},
    ) as stream:  # fmt: skip
        lines = stream.iter_lines()
        next(lines)
        process.send_signal(signal.SIGINT)
        rest = list(lines)
    assert rest[-2:] == ["data: [DONE]", ""], "what runs is finished"
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


def run_guide(address: str) -> None:
    """The Python blocks of the guide, against this server."""
    guide = (Path(__file__).parents[1] / "docs" / "serve.md").read_text("utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python no-run\n(.*?)```", guide, re.DOTALL):
        block = block.replace("http://127.0.0.1:8017", address).replace('api_key="none"', f"api_key={TOKEN!r}")
        exec(compile(block, "serve.md", "exec"), names)
    names["client"].close()
