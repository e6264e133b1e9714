"""What a server must not take: malformed, oversized and foreign requests, and strangers. Nothing of it is a 5xx."""

import json
import socket
from contextlib import suppress

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving import serving, toy_served

from vecspeak.errors import SpaceError
from vecspeak.serve.guard import Access, host_name
from vecspeak.serve.limits import Limits

TOKEN = "a-token-of-some-length"
LIMITS = Limits(body_bytes=200_000, text_characters=2_000, points=4, waiting=64)
JSON = {"content-type": "application/json"}
EXAMPLES = 4
"""Of each operation, by schemathesis; the suite's time allows no more."""
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return toy_served(tmp_path_factory.mktemp("serve"), limits=LIMITS)


@pytest.fixture(scope="module")
def address(served):
    with serving(served, access=Access(hosts={"127.0.0.1", "localhost"})) as address:
        yield address


@pytest.fixture(scope="module")
def http(address):
    with httpx.Client(base_url=address) as client:
        yield client


# ---- malformed bodies

TEXT = {"type": "text", "text": "Describe "}
ENTITY = {"type": "entity", "entity": "7"}


def chat(**fields):
    return {"model": "toys", "max_tokens": 2, "messages": [{"role": "user", "content": [TEXT, ENTITY]}], **fields}


def parts(*content):
    return chat(messages=[{"role": "user", "content": list(content)}])


def point(**fields):
    return {"type": "point", **fields}


MALFORMED = {
    # no JSON, or no object
    "empty": b"",
    "no JSON": b"{",
    "bytes that are no UTF-8": b'{"model": "\xff\xfe"}',
    "nested too deep": b"[" * 100_000,
    "a list": [],
    "a text": "toys",
    "null": None,
    # the request
    "no model": {"messages": chat()["messages"]},
    "another model": chat(model="gpt"),
    "a model that is a number": chat(model=3),
    "no messages": {"model": "toys"},
    "an empty conversation": chat(messages=[]),
    "messages that are a text": chat(messages="hello"),
    "an unknown field": chat(tools=[]),
    "temperature as text": chat(temperature="hot"),
    "temperature out of range": chat(temperature=99),
    "top_p of 0": chat(top_p=0),
    "no tokens": chat(max_tokens=0),
    "more tokens than the base has": chat(max_tokens=4000),
    "more tokens than anything": chat(max_tokens=10**30),
    "two different lengths": chat(max_completion_tokens=3),
    "a penalty out of range": chat(frequency_penalty=-3),
    "a penalty that is not known": chat(presence_penalty=0.5),
    "guidance below 0": chat(guidance=-1),
    "an endless seed": chat(seed=2**70),
    "no choices": chat(n=0),
    "too many samples": chat(n=4, best_of=5),
    "an empty stop": chat(stop=[""]),
    "too many stops": chat(stop=["a", "b", "c", "d", "e"]),
    "another response format": chat(response_format={"type": "json_object"}),
    "a number that is not one": b'{"model": "toys", "temperature": NaN, "messages": []}',
    # the turns
    "an unknown role": chat(messages=[{"role": "tool", "content": "x"}]),
    "no content": chat(messages=[{"role": "user"}]),
    "content that is null": chat(messages=[{"role": "assistant", "content": None}]),
    "the assistant's turn last": chat(messages=[*chat()["messages"], {"role": "assistant", "content": "x"}]),
    "no point": parts(TEXT),
    "too much text": parts({"type": "text", "text": "x" * 3000}, ENTITY),
    "private-use characters": parts({"type": "text", "text": "\ue000"}, ENTITY),
    # the parts
    "no type": parts({"text": "x"}),
    "an unknown type": parts({"type": "image_url", "image_url": "http://x"}),
    "a part that is a text": parts("x"),
    "an unknown entity": parts({"type": "entity", "entity": "nobody"}),
    "an entity that is a number": parts({"type": "entity", "entity": 7}),
    "an empty expression": parts(point(point="")),
    "an expression that does not end": parts(point(point="mean(1,2")),
    "a share beyond 1": parts(point(point="1:2@1.5")),
    "brackets without end": parts(point(point="(" * 1000)),
    "an unknown concept": parts(point(point="7+silly")),
    "a vector of another dimension": parts({"type": "vector", "vector": [1.0, 2.0]}),
    "a vector of zeros": parts({"type": "vector", "vector": [0.0] * 6}),
    "a vector of texts": parts({"type": "vector", "vector": ["a"] * 6}),
    "an infinite vector": json.dumps(parts({"type": "vector", "vector": [float("inf")] * 6})).encode(),
    "a vector beyond float32": parts({"type": "vector", "vector": [1e300] * 6}),
    "a vector of a length beyond float32": parts({"type": "vector", "vector": [1e30] * 6}),
    "a vector of huge integers": parts({"type": "vector", "vector": [10**400] * 6}),
    "an empty vector": parts({"type": "vector", "vector": []}),
    "too many points": parts(*({"type": "entity", "entity": str(i)} for i in range(5))),
    "one point too often": parts(*[ENTITY] * 5),
    "a pickled tensor": parts({"type": "prompt_embeds", "data": "gASVAAAA"}),
}
"""Sent to chat completions; bytes as they are, the rest as JSON."""

MALFORMED_API = {
    "neither point nor vector": ("/api/point", {}),
    "point and vector": ("/api/point", {"point": "1", "vector": [1.0] * 6}),
    "a place far off": ("/api/point", {"map": [9, 9]}),
    "a place of one number": ("/api/point", {"map": [0.5]}),
    "an unknown layout": ("/api/point", {"point": "1", "layout": "spiral"}),
    "a bad name": ("/api/concepts", {"name": "a b", "positive": ["1", "2"]}),
    "too few examples": ("/api/concepts", {"name": "few", "positive": ["1"]}),
    "an unknown example": ("/api/concepts", {"name": "odd", "positive": ["1", "nobody"]}),
    "an example on both sides": ("/api/concepts", {"name": "both", "positive": ["1", "2"], "negative": ["2", "3"]}),
    "no better than chance": ("/api/concepts", {"name": "chance", "positive": ["1", "30"], "negative": ["2", "31"]}),
}


def check_refusal(response: httpx.Response) -> None:
    assert 400 <= response.status_code < 500, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert len(error["message"]) > 8
    assert "Traceback" not in response.text
    assert "/src/" not in response.text


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_questions_are_refused_with_a_message(http, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    check_refusal(http.post(CHAT, content=content, headers=JSON))


@pytest.mark.parametrize(("path", "body"), MALFORMED_API.values(), ids=MALFORMED_API)
def test_malformed_requests_of_the_explorer_are_refused_with_a_message(http, path, body):
    check_refusal(http.post(path, json=body))


def test_there_are_forty_of_them():
    assert len(MALFORMED) + len(MALFORMED_API) >= 40


@pytest.mark.parametrize(
    "path",
    ["/api/space?layout=spiral", "/api/labels?layout=spiral", "/api/search?limit=0", "/api/search?q=" + "x" * 300,
     "/api/neighbours", "/api/neighbours?point=1&k=1000", "/api/neighbours?point=nobody", "/v1/models/x", "/nothing",
     "/assets/../app.py", "/assets/%2e%2e/app.py", "/v1/chat/completions"],
)  # fmt: skip
def test_addresses_that_lead_nowhere(http, path):
    check_refusal(http.get(path))


def test_a_form_is_no_question(http):
    """What a page of another site may send without asking the browser first."""
    body = json.dumps(chat())
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        refused = http.post(CHAT, content=body, headers={"content-type": kind})
        check_refusal(refused)
        assert "Send the header Content-Type: application/json." in refused.text


# ---- size


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(address):
    answer = raw(address, b"Content-Length: 10000000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer or b"larger than 200,000 bytes" in answer


def test_a_body_in_chunks_is_refused_as_soon_as_it_is_too_large(address):
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    sent = 0
    with connected(address) as connection:
        connection.sendall(head(b"Transfer-Encoding: chunked\r\n\r\n"))
        connection.settimeout(0.2)
        answer = b""
        while not answer and sent < 100 * LIMITS.body_bytes:
            try:
                connection.sendall(chunk)
                sent += 0x8000
            except OSError:
                break
            try:
                answer = connection.recv(4000)
            except TimeoutError:
                continue
            except OSError:
                break
    assert sent < 3 * LIMITS.body_bytes, "the server went on reading"
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_of_the_largest_size_is_read(http):
    body = json.dumps(chat()).encode()
    assert http.post(CHAT, content=body + b" " * (LIMITS.body_bytes - len(body)), headers=JSON).status_code == 200


def test_a_body_that_does_not_arrive_is_given_up(tmp_path):
    served = toy_served(tmp_path, limits=Limits(body_seconds=0.2))
    with serving(served) as address:
        assert raw(address, b"Content-Length: 100\r\n\r\n{").startswith(b"HTTP/1.1 408")
        with connected(address) as connection:  # nor is one that drips in
            connection.sendall(head(b"Content-Length: 100\r\n\r\n"))
            connection.settimeout(0.1)
            answer, sent = b"", 0
            while not answer and sent < 50:
                with suppress(TimeoutError):
                    sent += connection.send(b" ")
                    answer = connection.recv(4000)
        assert answer.startswith(b"HTTP/1.1 408")


def head(rest: bytes) -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + rest


def connected(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def raw(address: str, rest: bytes) -> bytes:
    with connected(address) as connection:
        connection.sendall(head(rest))
        answer = connection.recv(4000)
        while b"}}" not in answer and (more := connection.recv(4000)):
            answer += more
        return answer


# ---- strangers


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    served = toy_served(tmp_path_factory.mktemp("locked"))
    with serving(served, access=Access(token=TOKEN), origins=("https://friend.example",)) as address:
        yield address


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"]
)
@pytest.mark.parametrize("path", ["/v1/models", "/api/space", "/metrics", "/openapi.json", "/nothing"])
def test_without_the_token_nothing_is_told(locked, given, path):
    headers = {} if given is None else {"authorization": given.encode("latin-1")}
    response = httpx.get(locked + path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"


def test_with_the_token_all_is_told_and_health_without(locked):
    assert httpx.get(f"{locked}/v1/models", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert httpx.get(f"{locked}/health").json() == {"status": "ok"}


def test_other_sites_may_ask_only_where_they_are_named(locked, address):
    asked = {"origin": "https://friend.example", "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization,content-type,x-stainless-lang"  # as OpenAI's client
    assert httpx.options(locked + CHAT, headers=asked).status_code == 200
    assert httpx.options(locked + CHAT, headers=asked).headers["access-control-allow-origin"] == asked["origin"]
    asked["origin"] = "https://stranger.example"
    assert "access-control-allow-origin" not in httpx.options(locked + CHAT, headers=asked).headers
    assert "access-control-allow-origin" not in httpx.get(f"{address}/health", headers=asked).headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", ""])
def test_another_name_for_this_machine_is_not_answered(address, host):
    """DNS rebinding: a page of evil.example whose name suddenly leads to 127.0.0.1."""
    response = httpx.get(f"{address}/v1/models", headers={"host": host})
    assert response.status_code in (400, 403)


@pytest.mark.parametrize(
    ("host", "name"), [("localhost:80", "localhost"), ("[::1]:80", "::1"), ("A.b", "a.b"), ("[", "")]
)
def test_names_in_host_headers(host, name):
    assert host_name(host) == name


# ---- faults of our own


def test_a_fault_of_ours_is_not_told_in_detail(tmp_path, monkeypatch, caplog):
    served = toy_served(tmp_path)

    def broken(*_, **__):
        raise RuntimeError("secret in /some/folder")

    monkeypatch.setattr(served.index, "search", broken)

    def gone(*_, **__):
        raise SpaceError("/some/folder can no longer be read")

    monkeypatch.setattr(served.space, "neighbours", gone)
    with serving(served) as address:
        for path in ("/api/search?q=x", "/api/neighbours?point=1"):
            response = httpx.get(address + path)
            assert response.status_code == 500
            assert response.json()["error"]["code"] == "internal_error"
            assert "/some/folder" not in response.text
    assert "/some/folder can no longer be read" in caplog.text


# ---- the OpenAPI document


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_nothing_made_from_the_document_breaks_the_server(address, mode):
    """Requests that fit it and requests that do not: no 5xx, and every answer is as documented."""
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 13
    for operation in operations:

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            # an id, a name or an expression that fits the document may still be none of this space
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        with suppress(Unsatisfiable):  # without parameters nothing can be wrong with a request
            check()
