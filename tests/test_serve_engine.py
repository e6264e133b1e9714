"""The one decoding thread: who is together in a batch, who waits, who is sent away, who has gone."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import gate, serving, toy_elm, toy_served, toy_space, until

from vecspeak.decoding import Token
from vecspeak.serve.limits import Limits
from vecspeak.serve.served import Served
from vecspeak.serve.writing import Writing

CHAT = "/v1/chat/completions"
LONG = 60


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return toy_space(tmp_path_factory.mktemp("space"))


class Held:
    """A running server whose decoder takes steps only when the test lets it."""

    def __init__(self, served: Served, address: str, decoders: list) -> None:
        self.served, self.address, self.decoders = served, address, decoders
        self.clients = ThreadPoolExecutor(8)

    @property
    def decoder(self):
        return self.decoders[-1]

    def ask(self, entity: int = 1, **fields):
        """A question on its way, as a future response."""
        return self.clients.submit(httpx.post, self.address + CHAT, json=body(entity, **fields), timeout=60)

    def metric(self, name: str) -> float:
        lines = httpx.get(f"{self.address}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def body(entity: int = 1, **fields):
    parts = [{"type": "text", "text": "Describe "}, {"type": "entity", "entity": str(entity)}]
    return {"model": "toys", "messages": [{"role": "user", "content": parts}], "max_tokens": LONG, "temperature": 1,
            **fields}  # fmt: skip


@pytest.fixture
def held(space, tmp_path, monkeypatch, request):
    limits = Limits(**getattr(request, "param", {}))
    decoders: list = []

    def gated_elm(space):
        elm = toy_elm(space)
        decoders.append(gate(elm))
        return elm

    monkeypatch.setattr("serving.toy_elm", gated_elm)
    served = toy_served(tmp_path, limits=limits, space=space)
    with serving(served) as address:
        found = Held(served, address, decoders[0])
        yield found
        for decoder in decoders[0]:
            decoder.open = True
        found.clients.shutdown()


def test_requests_that_are_there_together_share_every_forward(held):
    first = held.ask(1)
    until(lambda: len(held.decoder) == 1)
    held.decoder.let(3)
    others = [held.ask(entity) for entity in (2, 3, 4)]
    until(lambda: held.served.engine.waiting == 3)
    held.decoder.open = True
    answers = [each.result() for each in (first, *others)]
    assert [answer.status_code for answer in answers] == [200] * 4
    batches = held.decoder.batches
    # the first alone, then the three newcomers in one step beside it
    assert batches[0] == 1
    assert 4 in batches
    assert 2 not in batches[: batches.index(4)] and 3 not in batches[: batches.index(4)]
    for entity, answer in enumerate(answers, 1):
        alone = held.served.elm.__class__.ask(
            toy_elm(held.served.space), "Describe {x}", x=held.served.space[str(entity)], max_tokens=LONG, temperature=1
        )
        assert answer.json()["choices"][0]["message"]["content"] == alone.text


@pytest.mark.parametrize("held", [{"running": 1, "waiting": 2, "rows": 1}], indirect=True)
def test_a_full_queue_sends_away_with_a_time_to_come_again(held):
    running = held.ask(1)
    until(lambda: len(held.decoder) == 1)
    waiting = [held.ask(entity) for entity in (2, 3)]
    until(lambda: held.served.engine.waiting == 2)
    assert held.metric("vecspeak_queue_length") == 2
    refused = held.ask(4).result()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "queue_full"
    held.decoder.open = True
    assert [each.result().status_code for each in (running, *waiting)] == [200] * 3
    assert held.metric("vecspeak_queue_full_total") == 1


@pytest.mark.parametrize("held", [{"running": 1, "waiting": 1, "rows": 1}], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_frees_its_place(held, stream):
    with asking(held.address, stream):
        until(lambda: len(held.decoder) == 1)
        behind = held.ask(2)
        until(lambda: held.served.engine.waiting == 1)
    # a step notices; the answer would have taken LONG of them
    until(lambda: (held.decoder.let(1), held.served.engine.waiting == 0)[1])
    assert sum(held.decoder.batches) < LONG
    held.decoder.open = True
    assert behind.result().status_code == 200


def asking(address, stream):
    """The connection of a client that has asked; closing it is going away."""
    host, _, port = address.removeprefix("http://").partition(":")
    question = json.dumps(body(1, stream=stream))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(question)}"
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(f"{head}\r\n\r\n{question}".encode())
    return connection


@pytest.mark.parametrize("held", [{"running": 1, "waiting": 1, "rows": 1}], indirect=True)
def test_a_client_that_goes_while_it_waits_leaves_the_queue(held):
    running = held.ask(1)
    until(lambda: len(held.decoder) == 1)
    with asking(held.address, False):
        until(lambda: held.served.engine.waiting == 1)
    until(lambda: held.served.engine.waiting == 0)
    behind = held.ask(2)
    until(lambda: held.served.engine.waiting == 1)
    held.decoder.open = True
    assert {running.result().status_code, behind.result().status_code} == {200}


@pytest.mark.parametrize("held", [{"seconds": 0.3}], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_given_up(held, stream):
    response = held.ask(1, stream=stream).result()
    if stream:
        assert response.text.rstrip().splitlines()[-1].startswith('data: {"error": {"message": "The answer was not')
    else:
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "timeout"
    until(lambda: (held.decoder.let(1), len(held.decoder) == 0)[1])


@pytest.mark.parametrize("held", [{"seconds": 0.5}], indirect=True)
def test_nor_is_waited_longer_for_how_far_to_trust_an_answer(held, monkeypatch):
    held.decoder.open = True
    monkeypatch.setattr(held.served.judge, "judge", lambda job: None)
    assert held.ask(1).result().status_code == 504


@pytest.mark.parametrize("stream", [False, True])
def test_a_step_that_fails_is_told_and_the_next_question_is_answered(held, stream, caplog):
    asked = held.ask(1, stream=stream)
    until(lambda: len(held.decoder) == 1)
    broken = held.decoder

    def fail():
        raise MemoryError("secret")

    broken.step_of_base = broken._base
    broken._base = lambda **_: fail()
    broken.open = True
    response = asked.result()
    assert "The server failed" in response.text
    assert "secret" not in response.text
    assert stream or response.status_code == 500
    until(lambda: len(held.decoders) == 2)
    held.decoder.open = True
    assert held.ask(1).result().status_code == 200


def test_going_down_finishes_what_runs_and_takes_no_more(held):
    asked = held.ask(1)
    until(lambda: len(held.decoder) == 1)
    closing = threading.Thread(target=held.served.engine.close, kwargs={"seconds": 20})
    closing.start()
    until(lambda: held.ask(2).result().status_code == 503)
    held.decoder.open = True
    closing.join()
    assert asked.result().json()["choices"][0]["message"]["content"]


def test_what_is_counted(held):
    held.decoder.open = True
    usage = held.ask(1).result().json()["usage"]
    assert held.metric("vecspeak_generated_tokens_total") == usage["completion_tokens"]
    assert held.metric('vecspeak_requests_total{route="/v1/chat/completions",status="200"}') == 1
    assert held.metric('vecspeak_request_seconds_count{route="/v1/chat/completions"}') == 1
    assert held.metric("vecspeak_first_word_seconds_count") == 1
    assert held.metric("vecspeak_rows_running") == 0
    httpx.get(f"{held.address}/nothing/{'x' * 50}")
    assert held.metric('vecspeak_requests_total{route="other",status="404"}') == 1


# ---- the text of one answer


class Letters:
    """An Elm whose tokens are letters."""

    def read(self, ids):
        return "".join(map(chr, ids)).strip()


@pytest.mark.parametrize(
    ("text", "stop", "written"),
    [
        ("abcabd", ["abd"], "abc"),
        ("abcd", ["x"], "abcd"),
        ("abab", ["abac"], "abab"),
        ("one. two. three", [". t"], "one"),
        ("one\n\ntwo", ["\n\n"], "one"),
        ("say aaab", ["aab"], "say a"),
        ("ab", ["b", "ab"], ""),
    ],
)
def test_stop_strings(text, stop, written):
    writing = Writing(Letters(), stop)
    pieces = ""
    for place, letter in enumerate(text):
        pieces += writing.add(Token(ord(letter), "length" if place == len(text) - 1 else None))
        assert written.startswith(pieces), "what may still belong to a stop string was shown"
        if writing.end:
            break
    assert (pieces, writing.text) == (written, written)
    assert writing.end == ("length" if written == text else "stop")
