"""Faults 34, 35, 37, 39 of endpoints, without a network: addresses, keys, what is sent, what replies mean, the pace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random

import pytest

from evalkit.backends.endpoint import Again, Answer, Refused, Reply, address_of, outcome_of, payload_of, retry_after
from evalkit.backends.pace import Pace, wait_of
from evalkit.backends.secret import Secret, read_key
from evalkit.errors import EvalkitError, ModelError
from evalkit.settings import RunSettings
from evalkit.types import Message, Request, Response, Sampling

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
CHAT = Request("q", messages=(Message("system", "Be brief."), Message("user", "Hi?")), sampling=Sampling(9, seed=3))
PLAIN = Request("q", prompt="Once", sampling=Sampling(9, stop=("\n",)))


def outcome(status: int = 200, body: object = b"", request: Request = CHAT, **headers: str) -> Answer | Again:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return outcome_of(Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, content), request, NOW)


def response(body: object, request: Request = CHAT, **headers: str) -> Response:
    found = outcome(200, body, request, **headers)
    assert isinstance(found, Answer)
    return found.response


def chat(content: object = "Hello", finish: object = "stop", **more: object) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish}], **more}


def test_an_address_is_a_url_and_a_name():
    address = address_of("http://localhost:8000/v1/#org/model:tag@main")
    assert (address.base, address.name) == ("http://localhost:8000/v1", "org/model:tag@main")
    assert str(address) == "openai:http://localhost:8000/v1#org/model:tag@main"


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        ("", "no http or https URL"),
        ("localhost:8000/v1#m", "no http or https URL"),
        ("ftp://host/v1#m", "no http or https URL"),
        ("http://#m", "no http or https URL"),
        ("http://a b/v1#m", "no http or https URL"),
        ("http://host\n/v1#m", "no http or https URL"),
        ("http://host:99999/v1#m", "the URL has no valid host and port"),
        ("http://[::1/v1#m", "the URL has no valid host and port"),
        ("http://host/v1", "no model's name after the URL"),
        ("http://host/v1# ", "no model's name after the URL"),
        ("http://me:hunter2@host/v1#m", "a URL with user, password or query is not taken"),
        ("http://hunter2@host/v1#m", "a URL with user, password or query is not taken"),
        ("http://host/v1?key=hunter2#m", "a URL with user, password or query is not taken"),
    ],
)
def test_a_malformed_address_is_refused_in_one_line_without_what_may_be_secret(where, fault):
    with pytest.raises(ModelError) as raised:
        address_of(where)
    assert str(raised.value).startswith(f"openai: {fault}")
    assert "expected openai:URL#MODEL, for instance openai:http://localhost:8000/v1#my-model" in str(raised.value)
    assert "hunter2" not in str(raised.value)


LOCAL, OPENAI = address_of("http://localhost/v1#m"), address_of("https://api.openai.com/v1#m")


@pytest.mark.parametrize(
    ("address", "environment", "key"),
    [
        (LOCAL, {}, None),
        (LOCAL, {"EVALKIT_API_KEY": " one\n", "OPENAI_API_KEY": "two"}, "one"),
        (LOCAL, {"OPENAI_API_KEY": "two"}, None),
        (OPENAI, {"OPENAI_API_KEY": "two"}, "two"),
        (address_of("http://api.openai.com/v1#m"), {"OPENAI_API_KEY": "two"}, None),
        (address_of("https://evil-openai.com/v1#m"), {"OPENAI_API_KEY": "two"}, None),
        (OPENAI, {"OPENAI_API_KEY": "two", "EVALKIT_API_KEY": "one"}, "one"),
    ],
)
def test_a_key_goes_only_where_it_is_meant_to_39(address, environment, key):
    found = read_key(address, environment)
    assert (found and found.reveal()) == key


def test_a_key_may_stand_in_a_file_39(tmp_path):
    (tmp_path / "key").write_text("one\n")
    found = read_key(LOCAL, {"EVALKIT_API_KEY_FILE": str(tmp_path / "key")})
    assert found
    assert found.reveal() == "one"
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ModelError, match="is empty; expected a key"):
        read_key(LOCAL, {"EVALKIT_API_KEY_FILE": str(tmp_path / "key")})
    with pytest.raises(ModelError, match="none: cannot be read: No such file or directory"):
        read_key(LOCAL, {"EVALKIT_API_KEY_FILE": str(tmp_path / "none")})


def test_what_is_no_key_is_refused_without_being_shown_39():
    with pytest.raises(ModelError) as raised:
        read_key(LOCAL, {"EVALKIT_API_KEY": "hunter2\r\nX-Header: 1"})
    assert str(raised.value) == "EVALKIT_API_KEY: expected a key alone: visible ASCII characters without a space"


def test_a_secret_shows_as_stars_whoever_prints_it_39():
    secret = Secret("a-long-secret")
    assert {repr(secret), str(secret), f"{secret}", f"{[secret]}"} == {"***", "[***]"}
    assert secret.out_of("it is a-long-secret!") == "it is ***!"
    assert Secret("none").out_of("none of it", answer=True) == "none of it"  # no secret, a word


def test_a_chat_is_sent_as_messages():
    assert payload_of(CHAT, "m") == (
        "/chat/completions",
        {
            "model": "m", "max_tokens": 9, "temperature": 0.0, "top_p": 1.0, "seed": 3,
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}],
        },
    )  # fmt: skip


def test_a_plain_prompt_is_sent_as_it_is():
    path, payload = payload_of(PLAIN, "m")
    assert (path, payload["prompt"], payload["stop"]) == ("/completions", "Once", ["\n"])
    assert "messages" not in payload


def test_an_answer_has_text_end_and_tokens():
    body = chat(usage={"completion_tokens": 2, "prompt_tokens": 7}, model="m", system_fingerprint="fp")
    assert outcome(200, body) == Answer(
        Response("Hello", "stop", "system: Be brief.\nuser: Hi?", tokens=2, prompt_tokens=7), "m fp"
    )
    plain = {"choices": [{"text": " upon", "finish_reason": "length"}]}
    assert response(plain, PLAIN) == Response(" upon", "length", "Once")


def test_a_stop_text_that_an_endpoint_leaves_in_is_cut_off():
    body = {"choices": [{"text": "one\ntwo", "finish_reason": "length"}]}
    assert response(body, PLAIN) == Response("one", "stop", "Once")


@pytest.mark.parametrize(
    ("finish", "usage", "seen"),
    [
        ("stop", None, "stop"),
        ("length", None, "length"),
        (None, None, "stop"),
        (None, {"completion_tokens": 9}, "length"),
        (None, {"completion_tokens": 8}, "stop"),
    ],
)
def test_a_missing_finish_reason_is_length_where_all_tokens_were_used_36(finish, usage, seen):
    assert response(chat(finish=finish, usage=usage)).finish == seen


@pytest.mark.parametrize("usage", [None, {}, [], {"completion_tokens": "2"}, {"completion_tokens": True}, {"x": -1}])
def test_tokens_are_unknown_without_a_sensible_usage_37(usage):
    assert response(chat(usage=usage)) == Response("Hello", sent="system: Be brief.\nuser: Hi?")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>Sign in</html>", "the reply is no JSON object: 20 bytes, text/html (column 1: Expecting value)"),
        (b"", "the reply is no JSON object: 0 bytes, text/html (column 1: Expecting value)"),
        (b"[]", "the reply is no JSON object: 2 bytes, text/html (column 1: list, not an object)"),
        (b"\xff", "the reply is no JSON object: 1 bytes, text/html (column 1: not UTF-8)"),
        (b"[" * 99_999, "the reply is no JSON object: 99,999 bytes, text/html (column 1: nested too deeply)"),
        ({}, "the reply has no choices"),
        ({"choices": []}, "the reply has no choices"),
        ({"choices": "x"}, "the reply has no choices"),
        ({"choices": [None]}, "the reply has no choices"),
        ({"choices": [{}]}, "the reply has no text (finish_reason None)"),
        (chat(None), "the reply has no text (finish_reason 'stop')"),
        (chat([{"type": "text"}]), "the reply has no text (finish_reason 'stop')"),
        (chat(finish="content_filter"), "the endpoint ended the answer with 'content_filter'"),
        (chat(finish=["stop"]), "the endpoint ended the answer with ['stop']"),
        ({"error": {"message": "out of\nmemory", "code": 5}}, "the endpoint reports an error: out of memory"),
        ({"error": "overloaded"}, "the endpoint reports an error: overloaded"),
    ],
)
def test_a_success_without_an_answer_is_an_error_row_37(body, error):
    found = response(body, content_type="text/html")
    assert (found.finish, found.text, found.error) == ("error", "", error)


def test_lone_surrogates_become_the_replacement_character():
    assert response(b'{"choices": [{"message": {"content": "a\\ud800b"}}]}').text == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        (" 1.5 ", 1.5),
        ("Thu, 01 Jan 2026 12:00:07 GMT", 7.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("9" * 17, float("9" * 17)),
        ("9" * 99, None),
        ("Thu, 99 Jan 2026 12:00:07 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_34(text, seconds):
    assert retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    ("asked", "tries", "least", "most"),
    [(3.0, 1, 3, 3), (1e17, 1, 60, 60), (0.0, 4, 0, 0), (None, 1, 0.25, 0.5), (None, 4, 2, 4), (None, 99, 60, 60)],
)
def test_a_wait_is_as_asked_or_doubles_and_is_never_absurd_34(asked, tries, least, most):
    assert least <= wait_of(asked, tries, Random(0)) <= most
    assert wait_of(asked, tries, Random(0)) == wait_of(asked, tries, Random(0))


@pytest.mark.parametrize(
    ("status", "tries", "busy", "stops"),
    [(429, 10, True, True), (503, 5, True, False), (504, 5, True, False), (408, 5, True, False)]
    + [(status, 5, False, False) for status in (409, 425, 500, 502, 599)],
)
def test_what_may_pass_is_tried_again_34_35(status, tries, busy, stops):
    found = outcome(status, b"<html>", retry_after="2")
    assert isinstance(found, Again)
    assert (found.tries, found.wait, found.busy, found.stops) == (tries, 2.0, busy, stops)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, {"error": {"message": "no such field"}},
         "400 Bad Request (no such field); the endpoint does not take such requests"),
        (401, b"", "401 Unauthorized; give its key in EVALKIT_API_KEY or EVALKIT_API_KEY_FILE"),
        (403, {"detail": "no"}, "403 Forbidden (no); the key may not use this model; give another in EVALKIT_API_KEY"),
        (404, {"message": "no model"},
         "404 Not Found (no model); check the URL, which mostly ends in /v1, and the name after #"),
        (422, {"detail": [1]}, "422 Unprocessable Content ([1]); the endpoint does not take such requests"),
        (418, b"<html>", "418 I'm a Teapot; the endpoint does not take such requests"),
        (307, b"", "307 Temporary Redirect: redirects are not followed; give the URL that the endpoint has now"),
    ],
)  # fmt: skip
def test_what_cannot_pass_is_refused_with_one_message_35(status, body, message):
    with pytest.raises(Refused) as raised:
        outcome(status, body)
    assert str(raised.value).replace("Unprocessable Entity", "Unprocessable Content") == message


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens.",
        "The prompt (total length 3000) is too long to fit into the model",
        "the request exceeds the available context size",
    ],
)
def test_a_prompt_that_is_too_long_is_its_own_error_35(said):
    found = outcome(400, {"error": {"message": said}})
    assert isinstance(found, Answer)
    assert str(found.response.error).startswith("prompt_too_long: the endpoint answers 400 Bad Request (")


def test_the_pace_halves_once_a_round_and_widens_by_one_a_round():
    pace = Pace(16)
    for _ in range(16):
        pace.pushed_back(began=0.0, now=1.0, wait=2.0)
    assert (pace.width, pace.until, pace.answers) == (8.0, 3.0, 0)
    pace.pushed_back(began=3.0, now=4.0, wait=1.0)
    assert (pace.width, pace.until, pace.answers) == (4.0, 5.0, 0)
    for _ in range(5):
        pace.answered()
    assert (int(pace.width), pace.answers) == (5, 5)
    for _ in range(500):
        pace.answered()
    assert pace.width == 16
    for now in range(100):
        pace.pushed_back(now, now, 0)
    assert pace.width == 1


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"concurrency": 0}, "--concurrency 0: expected 1 to 1024 requests"),
        ({"concurrency": 1025}, "--concurrency 1025: expected 1 to 1024 requests"),
        ({"timeout": 0.0}, "--timeout 0: expected a number of seconds above 0"),
        ({"timeout": float("nan")}, "--timeout nan: expected a number of seconds above 0"),
        ({"timeout": float("inf")}, "--timeout inf: expected a number of seconds above 0"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(given, fault):
    with pytest.raises(EvalkitError, match=fault):
        RunSettings("m", ("s",), **given)
