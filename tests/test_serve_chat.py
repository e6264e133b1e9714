"""The API as OpenAI's own client uses it: completions, streams, made points, several turns, errors."""

import json

import httpx
import openai
import pytest
from serving import serving, toy_served

from vecspeak.geometry import parse_point
from vecspeak.prompts import Turn


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return toy_served(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def address(served):
    with serving(served) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def user(*parts):
    """A user's turn: texts, and points as (type, value)."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": part[0], part[0]: part[1]}
        for part in parts
    ]
    return {"role": "user", "content": content}


DESCRIBE = user("Describe ", ("entity", "7"), ".")
SHORT = {"model": "toys", "max_tokens": 12}


def test_a_completion_is_what_ask_says(client, served):
    completion = client.chat.completions.create(messages=[DESCRIBE], **SHORT)
    answer = served.elm.ask("Describe {x}.", x=served.space["7"], max_tokens=12)
    choice = completion.choices[0]
    assert choice.message.content == answer.text
    assert choice.finish_reason == ("length" if answer.tokens == 12 else "stop")
    assert completion.usage.completion_tokens == answer.tokens
    assert completion.usage.prompt_tokens == len(prompt_ids(served, "Describe {x}."))
    trust = choice.vecspeak
    assert trust["consistency"] == pytest.approx(answer.consistency, abs=1e-6)
    assert trust["distance"] == answer.distance
    assert trust["points"] == [{"label": "7"}]
    assert [near["id"] for near in trust["neighbours"]] == [near.id for near in answer.neighbours]


def prompt_ids(served, prompt):
    from vecspeak.prompts import render

    return render(served.elm.tokenizer, prompt, 1).ids


def test_a_stream_is_the_completion_in_pieces(client):
    whole = client.chat.completions.create(messages=[DESCRIBE], **SHORT)
    stream = client.chat.completions.create(
        messages=[DESCRIBE], stream=True, stream_options={"include_usage": True}, **SHORT
    )
    *chunks, usage = stream
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert len(chunks) > 4
    ends = [chunk.choices[0].finish_reason for chunk in chunks]
    assert ends == [None] * (len(ends) - 1) + [whole.choices[0].finish_reason]
    assert chunks[-1].choices[0].vecspeak == whole.choices[0].vecspeak
    assert (usage.choices, usage.usage) == ([], whole.usage)


def test_two_points_in_one_message_and_made_points(client, served):
    messages = [user("How does ", ("entity", "1"), " differ from ", ("point", "2:3@0.25"), "?")]
    completion = client.chat.completions.create(messages=messages, **SHORT)
    y = parse_point(served.space, "2:3@0.25")
    answer = served.elm.ask("How does {x} differ from {y}?", x=served.space["1"], y=y, max_tokens=12)
    assert completion.choices[0].message.content == answer.text
    assert [point["label"] for point in completion.choices[0].vecspeak["points"]] == ["1", "2:3@0.25"]


def test_a_vector_says_what_the_entity_says(client, served):
    as_vector = [user("Describe ", ("vector", served.space["7"].vector.tolist()), ".")]
    one = client.chat.completions.create(messages=as_vector, **SHORT).choices[0]
    assert (
        one.message.content == client.chat.completions.create(messages=[DESCRIBE], **SHORT).choices[0].message.content
    )
    assert one.vecspeak["points"] == [{"label": "vector"}]


def test_three_turns_about_the_same_point(client, served):
    messages = [{"role": "system", "content": "Be brief."}, DESCRIBE]
    turns = [Turn("system", "Be brief."), Turn("user", "Describe {x}.")]
    for question in ("Why?", "Who likes it?"):
        told = client.chat.completions.create(messages=messages, **SHORT).choices[0]
        assert told.message.content == asked(served, turns)
        # as clients do: the message goes back, itself or with all its nulls, and later turns have no point
        said = told.message if question == "Why?" else told.message.model_dump()
        messages += [said, {"role": "user", "content": question}]
        turns += [Turn("assistant", told.message.content.replace("{", "{{").replace("}", "}}")), Turn("user", question)]
    nulls = {"tools": None, "logit_bias": None}
    told = client.chat.completions.create(messages=messages, extra_body=nulls, **SHORT).choices[0]
    assert told.message.content == asked(served, turns)
    assert told.vecspeak["points"] == [{"label": "7"}]


def asked(served, turns):
    from vecspeak.answers import Question

    decoding = served.elm.decoding.but(max_tokens=12)
    return served.elm.ask_many([Question(tuple(turns), {"x": served.space["7"]})], decoding=decoding)[0].text


def test_braces_of_a_user_are_braces(client, served):
    messages = [user("Say {film} of {", ("entity", "7"), "}.")]
    completion = client.chat.completions.create(messages=messages, **SHORT)
    answer = served.elm.ask("Say {{film}} of {{{x}}}.", x=served.space["7"], max_tokens=12)
    assert completion.choices[0].message.content == answer.text


def test_choices_are_the_seeds_that_follow(client):
    warm = {**SHORT, "temperature": 1.5, "messages": [DESCRIBE]}
    three = client.chat.completions.create(n=3, seed=5, **warm)
    texts = [choice.message.content for choice in three.choices]
    assert texts == [client.chat.completions.create(seed=5 + i, **warm).choices[0].message.content for i in range(3)]
    assert len(set(texts)) == 3
    assert three.usage.completion_tokens <= 36


def test_streamed_choices_keep_apart(client):
    warm = {**SHORT, "temperature": 1.5, "messages": [DESCRIBE], "n": 2}
    texts = ["", ""]
    for chunk in client.chat.completions.create(stream=True, **warm):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in client.chat.completions.create(**warm).choices]


@pytest.mark.parametrize("chosen_by", ["consistency", "support"])
@pytest.mark.parametrize("stream", [False, True])
def test_best_of_is_what_ask_says(client, served, stream, chosen_by):
    wanted = {"best_of": 4, "guidance": 0.5, "chosen_by": chosen_by}
    given = {**SHORT, "messages": [DESCRIBE], "extra_body": wanted}
    if stream:
        chunks = list(client.chat.completions.create(stream=True, **given))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        text = client.chat.completions.create(**given).choices[0].message.content
    assert text == served.elm.ask("Describe {x}.", x=served.space["7"], max_tokens=12, **wanted).text


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_stop_string_ends_the_answer_before_it(client, length):
    whole = client.chat.completions.create(messages=[DESCRIBE], **SHORT).choices[0].message.content
    stop = whole[4 : 4 + length]
    given = {**SHORT, "messages": [DESCRIBE], "stop": [stop, "never written"]}
    choice = client.chat.completions.create(**given).choices[0]
    assert choice.message.content == whole[: whole.index(stop)].rstrip()
    assert choice.finish_reason == "stop"
    pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(stream=True, **given)]
    assert "".join(pieces).rstrip() == choice.message.content


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["toys"]
    assert client.models.retrieve("toys").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_errors_are_the_clients_own_classes(client):
    with pytest.raises(openai.NotFoundError, match="no entity 'nobody'") as wrong_id:
        client.chat.completions.create(messages=[user("Describe ", ("entity", "nobody"))], **SHORT)
    assert (wrong_id.value.code, wrong_id.value.param) == ("entity_not_found", "messages.0.content.1")
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.chat.completions.create(messages=[DESCRIBE], model="gpt")
    with pytest.raises(openai.BadRequestError, match="names no point"):
        client.chat.completions.create(messages=[user("Hello")], **SHORT)
    with pytest.raises(openai.BadRequestError, match="do not fit the base, which has 128 positions"):
        long_turn = {"role": "assistant", "content": "A story. " * 100}
        client.chat.completions.create(messages=[DESCRIBE, long_turn, user("Why?")], **SHORT)
    with pytest.raises(openai.BadRequestError, match="at most 16"):
        client.chat.completions.create(messages=[DESCRIBE], n=5, extra_body={"best_of": 4}, **SHORT)


def test_prompt_embeds_are_refused_with_a_reason(client):
    with pytest.raises(openai.BadRequestError, match="pickled tensor, which this server does not open") as refused:
        client.chat.completions.create(
            messages=[{"role": "user", "content": [{"type": "prompt_embeds", "data": "x"}]}], **SHORT
        )
    assert refused.value.code == "prompt_embeds_refused"


def test_server_sent_events_are_in_openais_form(address):
    body = {**SHORT, "messages": [DESCRIBE], "stream": True}
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert {json.loads(line[6:])["object"] for line in lines[:-1]} == {"chat.completion.chunk"}


def test_half_a_surrogate_pair_is_refused_and_told(address):
    body = b'{"model": "toys", "messages": [{"role": "user", "content": "\\ud800"}]}'
    for part in (body, body.replace(b'"\\ud800"', b'[{"type": "entity", "entity": "\\ud800"}]')):
        response = httpx.post(
            f"{address}/v1/chat/completions", content=part, headers={"content-type": "application/json"}
        )
        assert response.status_code in (400, 404)
        assert response.json()["error"]["message"]
