"""An endpoint over real HTTP: answers in order, errors that pass, errors that are the user's, no word of the key."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from vecspeak.cli import main
from vecspeak.endpoint import MAX_RETRIES
from vecspeak.errors import ConfigError, ModelError, SpaceError
from vecspeak.movielens import experiment
from vecspeak.movielens.endpoint import endpoint
from vecspeak.movielens.experiment import run_experiment
from vecspeak.movielens.made_points import remote_rivals
from vecspeak.movielens.settings import Settings, Told

KEY = "sk-very-secret-0123456789"
Reply = tuple[int, str]
"""Status and body."""


def completion(text: str | None) -> Reply:
    return 200, json.dumps({"object": "chat.completion", "choices": [{"index": 0, "message": {"content": text}}]})


def refusal(status: int, message: str = "no") -> Reply:
    return status, json.dumps({"error": {"message": message}})


@dataclass
class Server:
    """What a server does with each prompt, and what it was asked."""

    url: str = ""
    reply: Callable[[str], Reply] = completion
    asked: list[dict] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def prompts(self) -> list[str]:
        return [request["messages"][0]["content"] for request in self.asked]

    def answer(self, request: dict, path: str, key: str | None) -> Reply:
        with self.lock:
            self.asked.append(request)
            self.paths.append(path)
            self.keys.append(key)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return self.reply(request["messages"][0]["content"])
        finally:
            with self.lock:
                self.under_way -= 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """On a free port; the client waits hundredths of a second between attempts, not seconds."""
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("vecspeak.endpoint.FIRST_PAUSE_S", 0.01)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = state.answer(request, self.path, self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            with suppress(ConnectionError):  # the client may have given up
                self.end_headers()
                self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Joined(ThreadingHTTPServer):
        daemon_threads = False  # so that leaving waits for late answers

    with Joined(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def once(first: Reply) -> Callable[[str], Reply]:
    """This on the first request of all, then echoes."""
    replies = [first]
    return lambda prompt: replies.pop() if replies else completion(f"of {prompt}")


def failure(server: Server, *, key: str | None = KEY, prompts: tuple[str, ...] = ("p",)) -> str:
    with pytest.raises(ModelError) as caught:
        endpoint(server.url, "m", key=key)(prompts)
    message = str(caught.value)
    assert message.startswith(server.url) and "\n" not in message and len(message) < 400
    assert KEY not in message and caught.value.__suppress_context__
    return message


# ---- answers


def test_answers_come_in_the_order_of_the_prompts_and_as_many_at_a_time_as_told(server: Server) -> None:
    prompts = [str(n) for n in range(9)]

    def slower_first(prompt: str) -> Reply:
        time.sleep(0.02 * (9 - int(prompt)))
        return completion(f" answer {prompt}\n")

    server.reply = slower_first
    assert endpoint(server.url, "m", key=KEY, concurrency=3)(prompts) == [f"answer {prompt}" for prompt in prompts]
    assert server.most_under_way == 3
    assert sorted(server.prompts) == prompts


def test_what_is_asked(server: Server) -> None:
    assert endpoint(server.url, "some/model", key=f"{KEY}\n")(["Why? {x} é"]) == ["Why? {x} é"]
    (request,) = server.asked
    assert request == {
        "model": "some/model",
        "messages": [{"role": "user", "content": "Why? {x} é"}],
        "temperature": 0,
        "max_tokens": 200,
    }
    assert (server.paths, server.keys) == (["/v1/chat/completions"], [f"Bearer {KEY}"])


def test_a_server_may_want_no_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # only what is given is sent
    assert endpoint(server.url, "m", key=None)(["p"]) == ["p"]
    assert KEY not in str(server.keys)


def test_no_prompts_ask_nothing(server: Server) -> None:
    assert endpoint(server.url, "m", key=KEY)([]) == []
    assert server.asked == []


@pytest.mark.parametrize("reply", [completion(None), completion(""), completion(" \n"), (200, '{"choices": []}')])
def test_an_empty_answer_is_empty(server: Server, reply: Reply) -> None:
    server.reply = once(reply)
    assert endpoint(server.url, "m", key=KEY, concurrency=1)(["a", "b"]) == ["", "of b"]


# ---- errors that pass, and those that do not


@pytest.mark.parametrize("status", [429, 500])
def test_an_error_that_passes_is_tried_again(server: Server, status: int) -> None:
    server.reply = once(refusal(status))
    assert endpoint(server.url, "m", key=KEY, concurrency=1)(["a", "b"]) == ["of a", "of b"]
    assert server.prompts == ["a", "a", "b"]


def test_an_error_that_stays_is_told_in_the_servers_words(server: Server) -> None:
    server.reply = lambda prompt: refusal(429, f"Quota of {KEY} is\nused up. " + "x" * 1000)
    assert "does not answer as m: Error code: 429" in (message := failure(server))
    assert "Quota of (key) is" in message
    assert len(server.asked) == 1 + MAX_RETRIES


def test_no_part_of_the_key_is_left_where_a_message_is_cut(server: Server) -> None:
    for length in range(200, 250, 4):
        server.reply = lambda prompt, length=length: refusal(400, "x" * length + KEY)
        assert "sk-" not in failure(server)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key(server: Server, status: int) -> None:
    server.reply = lambda prompt: refusal(status, f"Incorrect API key provided: {KEY}")
    message = failure(server, prompts=tuple("abcdefghijklmnopqrstuvwxyz"))
    assert f"refuses the key ({status}). Set OPENAI_API_KEY" in message
    assert len(server.asked) < 26  # not all are still asked


def test_an_unknown_model(server: Server) -> None:
    server.reply = lambda prompt: refusal(404, "The model does not exist")
    assert "has no model 'm'" in failure(server)
    assert len(server.asked) == 1


def test_a_refused_setting_is_told_in_the_servers_words(server: Server) -> None:
    server.reply = lambda prompt: refusal(400, "Unsupported parameter: 'max_tokens'")
    assert "Unsupported parameter: 'max_tokens'" in failure(server, key=None)


@pytest.mark.parametrize("body", ['{"choices": [', "<html>Sign in</html>", "[]", "{}", '{"choices": null}', ""])
def test_what_is_no_chat_completion(server: Server, body: str) -> None:
    server.reply = lambda prompt: (200, body)
    message = failure(server)
    assert "gives no chat completion. Check that the URL" in message
    assert message.endswith(f"It says: {body}".strip())


def test_no_connection(server: Server) -> None:
    server.url = "http://127.0.0.1:9/v1"  # the port of the discard service, which nothing serves
    assert "cannot be reached. Check the URL and that the server runs: " in (message := failure(server))
    assert "connection" in message


def test_no_answer_in_time(server: Server) -> None:
    def late(prompt: str) -> Reply:
        time.sleep(0.6)
        return completion("late")

    server.reply = late
    with pytest.raises(ModelError, match="cannot be reached"):
        endpoint(server.url, "m", key=KEY, timeout_s=0.15)(["p"])
    assert len(server.asked) == 1 + MAX_RETRIES


def test_what_can_be_no_url_or_key() -> None:
    with pytest.raises(ModelError, match="'localhost:8000' is no URL of an endpoint"):
        endpoint("localhost:8000", "m", key=None)
    for bad in ("sk-se\ncret", "sk secret", "sk-é"):
        with pytest.raises(ModelError, match="has blanks or letters that no key has") as caught:
            endpoint("http://x/v1", "m", key=bad)
        assert "sk" not in str(caught.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"pip install 'vecspeak\[teacher\]'"):
        endpoint("http://x/v1", "m", key=None)


# ---- in the experiment


@pytest.mark.parametrize("given", [{"rival_url": "http://x/v1"}, {"rival_model": "m"}])
def test_url_and_model_go_together(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="rival_url and rival_model go together"):
        Settings(folder=Path("none"), **given)


def test_a_rival_has_its_models_name_in_the_report(server: Server) -> None:
    settings = Settings(folder=Path("none"), rival_url=server.url, rival_model="some/model")
    assert {name: ask(["p"]) for name, ask in remote_rivals(settings).items()} == {"text only, some/model": ["p"]}
    assert remote_rivals(Settings(folder=Path("none"))) == {}


@pytest.mark.parametrize("option", ["--rival-url", "--rival-model"])
def test_the_command_wants_both(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["movielens", str(tmp_path), option, "http://x/v1", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith("error: --rival-url and --rival-model go together")


def test_an_endpoint_that_does_not_answer_stops_the_run_before_anything_is_done(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.reply = lambda prompt: refusal(401)
    out = tmp_path / "run"
    options = ["--rival-url", server.url, "--rival-model", "m", "--out", str(out)]
    assert main(["movielens", str(tmp_path / "none"), *options]) == 2
    assert f"{server.url} refuses the key (401)" in capsys.readouterr().err
    assert server.keys == [f"Bearer {KEY}"]
    assert not out.exists()


def test_one_that_answers_is_asked_once_and_not_when_its_answers_are_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(folder=tmp_path / "none", rival_url=server.url, rival_model="m")
    told = Told(lambda event: None, lambda progress: None)
    with pytest.raises(SpaceError, match="There is no folder"):
        run_experiment(settings, tmp_path / "run", told)
    assert len(server.asked) == 1
    monkeypatch.setattr(experiment, "check_settings", lambda settings, out: None)
    (tmp_path / "run/steps").mkdir(parents=True)
    (tmp_path / "run/steps/made points.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SpaceError, match="There is no folder"):
        run_experiment(settings, tmp_path / "run", told)
    assert len(server.asked) == 1
