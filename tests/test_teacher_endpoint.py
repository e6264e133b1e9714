"""The client of endpoints over real HTTP: waits that are told, rates, settings a model refuses, tokens it counts."""

import asyncio
import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vecspeak.endpoint import Endpoint, Reply, Unanswered, in_parallel, most_tokens
from vecspeak.errors import ModelError

Sent = tuple[int, dict[str, str], dict]
"""Status, headers, body."""


def completion(text: str | None = "an answer", finish: str = "stop", **more: object) -> Sent:
    return 200, {}, {"choices": [{"message": {"content": text}, "finish_reason": finish}], **more}


def refusal(status: int, *, param: str | None = None, **headers: str) -> Sent:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"error": {"message": "no", "param": param}}


@dataclass
class Server:
    url: str = ""
    replies: list[Sent] = field(default_factory=list)
    """In order; afterwards an answer."""
    refuses: tuple[str, ...] = ()
    """Settings that it never takes."""
    asked: list[dict] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr("vecspeak.endpoint.FIRST_PAUSE_S", 0.001)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.times.append(time.monotonic())
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(asked)
            status, headers, body = state.replies.pop(0) if state.replies else completion()
            if refused := [setting for setting in state.refuses if setting in asked]:
                time.sleep(0.1)  # so that others are under way with it, too
                status, headers, body = refusal(400, param=refused[0])
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def ask(server: Server, *prompts: str, concurrency: int = 1, **settings) -> list[Reply]:
    endpoint = Endpoint(server.url, "m", key=None, max_tokens=50, **settings)
    replies: list[Reply] = []

    async def run() -> None:
        async with endpoint.client() as client:

            async def one(prompt: str) -> None:
                replies.append(await endpoint.ask(client, prompt))

            await in_parallel(prompts or ("p",), one, concurrency=concurrency)

    asyncio.run(run())
    return replies


def test_what_an_answer_says_of_itself(server: Server) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    server.replies = [
        completion(" a text\n", usage=usage),
        completion("a text that", "length"),
        completion(None, "content_filter"),
    ]
    found = ask(server, "p", "p", "p")
    assert found[0] == Reply("a text", cut=False, filtered=False, tokens_in=7, tokens_out=3)
    assert (found[1].cut, found[1].tokens_in, found[1].tokens_out) == (
        True,
        most_tokens("p"),
        50,
    )  # not counted: the most
    assert (found[2].filtered, found[2].text) == (True, "")


def test_a_wait_that_is_told_holds_for_all(server: Server) -> None:
    server.replies = [refusal(429, Retry_After="0.5")]
    assert len(ask(server, "a", "b", "c", concurrency=1)) == 3
    assert min(server.times[1:]) - server.times[0] >= 0.5


def test_a_date_to_wait_for(server: Server) -> None:
    server.replies = [refusal(503, Retry_After=email.utils.formatdate(time.time() + 2, usegmt=True))]
    ask(server)
    assert server.times[1] - server.times[0] > 0.5  # dates have no fractions of a second


@pytest.mark.parametrize("told", ["3600", "Fri, 01 Jan 2999 00:00:00 GMT"])
def test_nobody_waits_for_an_hour(server: Server, told: str) -> None:
    server.replies = [refusal(429, Retry_After=told)]
    with pytest.raises(Unanswered, match="Error code: 429"):
        ask(server)
    assert len(server.asked) == 1


@pytest.mark.parametrize("told", ["soon", "-1", ""])
def test_a_wait_that_cannot_be_read_is_not_waited_for(server: Server, told: str) -> None:
    server.replies = [refusal(429, Retry_After=told)]
    assert ask(server)[0].text == "an answer"


def test_no_more_a_minute_than_told(server: Server) -> None:
    ask(server, *"abcd", concurrency=4, per_minute=300)
    gaps = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert server.times[-1] - server.times[0] > 0.4, gaps  # thrice a fifth of a second, less connecting


def test_settings_that_a_model_refuses_are_changed_once_for_all(server: Server) -> None:
    server.replies = [refusal(400, param="max_tokens"), refusal(400, param="temperature")]
    assert len(ask(server, "a", "b")) == 2
    settings = [{name: asked.get(name) for name in ("max_tokens", "max_completion_tokens")} for asked in server.asked]
    assert settings[0] == {"max_tokens": 50, "max_completion_tokens": None}
    assert settings[1:] == [{"max_tokens": None, "max_completion_tokens": 50}] * 3
    assert ["temperature" in asked for asked in server.asked] == [True, True, False, False]


def test_settings_that_a_model_refuses_lose_no_prompt_that_is_under_way(server: Server) -> None:
    server.refuses = ("max_tokens", "temperature")
    assert len(ask(server, *"abcdefgh", concurrency=8)) == 8
    assert sum("max_tokens" in asked for asked in server.asked) == 8


def test_a_prompt_that_is_refused_is_no_end_of_all(server: Server) -> None:
    server.replies = [refusal(400, param="messages")]
    with pytest.raises(Unanswered, match="does not answer as m"):
        ask(server)
    server.replies = [refusal(404)]
    with pytest.raises(ModelError, match="has no model 'm'") as caught:
        ask(server)
    assert not isinstance(caught.value, Unanswered)


def test_items_are_taken_as_they_are_needed_and_an_error_stops_all() -> None:
    taken: list[int] = []
    done: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    async def do(number: int) -> None:
        await asyncio.sleep(0)
        if number == 10:
            raise ValueError
        done.append(number)

    run: Callable[[], object] = lambda: asyncio.run(in_parallel(numbers(), do, concurrency=3))  # noqa: E731
    with pytest.raises(ValueError):
        run()
    assert len(taken) < 20 and done[:5] == [0, 1, 2, 3, 4]
