"""What a failure means, by its status and by what is said: one table for every SDK."""

from __future__ import annotations

import json
import ssl
from typing import Any

import pytest

from vjaccel.embedding.limits import BadReply, Fault, Place, fault_of

PLACE = Place("svc", "m", "http://x", "SVC_KEY", "sk-secret")


class Status(Exception):
    """A failure as one SDK or another raises it."""

    def __init__(self, message: str = "", **attributes: Any) -> None:
        super().__init__(message)
        self.__dict__.update(attributes)


def fault(exc: BaseException, *, proven: bool = False) -> Fault:
    found = fault_of(exc, PLACE, proven=proven)
    assert found is not None
    return found


@pytest.mark.parametrize("attribute", ["status_code", "http_status", "code"])
@pytest.mark.parametrize(
    ("status", "code", "then", "again"),
    [
        (200, "PROVIDER_UNAVAILABLE", "give up", "while there is time"),
        (302, "PROVIDER_REFUSED", "stop", "no"),
        (400, "REQUEST_REJECTED", "split", "no"),
        (401, "PROVIDER_REFUSED", "stop", "no"),
        (402, "PROVIDER_REFUSED", "stop", "no"),
        (403, "PROVIDER_REFUSED", "stop", "no"),
        (404, "PROVIDER_REFUSED", "stop", "no"),
        (405, "PROVIDER_REFUSED", "stop", "no"),
        (408, "TIMEOUT", "give up", "while there is time"),
        (410, "PROVIDER_REFUSED", "stop", "no"),
        (413, "TOKEN_LIMIT_EXCEEDED", "split", "no"),
        (422, "REQUEST_REJECTED", "split", "no"),
        (429, "RATE_LIMITED", "give up", "while there is time"),
        (500, "PROVIDER_UNAVAILABLE", "give up", "while there is time"),
        (502, "PROVIDER_UNAVAILABLE", "give up", "while there is time"),
        (503, "PROVIDER_UNAVAILABLE", "give up", "while there is time"),
        (504, "TIMEOUT", "give up", "while there is time"),
        (507, "PROVIDER_UNAVAILABLE", "give up", "while there is time"),
    ],
)
def test_a_status_means_the_same_whichever_sdk_says_it(
    attribute: str, status: int, code: str, then: str, again: str
) -> None:
    found = fault(Status("no", **{attribute: status}), proven=True)
    assert (found.code, found.then, found.again) == (code, then, again)
    assert str(status) in found.message or status == 302


@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_text_that_ollama_finds_too_long_is_that_whatever_status_its_version_gives_it(status: int) -> None:
    found = fault(Status("the input length exceeds the context length", status_code=status), proven=True)
    assert (found.code, found.then, found.again) == ("TOKEN_LIMIT_EXCEEDED", "split", "no")


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens, however you requested 9001 tokens",
        "`inputs` must have less than 512 tokens. Given: 600",
        "too many tokens: text 3 has 9000",
        "The input is too long for this model",
        "Request exceeds the maximum allowed tokens",
        "The max allowed tokens per submitted batch is 120000. Your batch has 200000 tokens; it exceeds the limit",
    ],
)
def test_a_limit_of_tokens_is_known_by_what_is_said(status: int, message: str) -> None:
    assert fault(Status(message, status_code=status)).code == "TOKEN_LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    "message",
    [
        "batch size 256 > maximum allowed batch size 32",
        "invalid request: total number of texts must be at most 96",
        "List should have at most 2048 items after validation, not 3000",
        "Invalid 'input': array too long. Expected an array with maximum length 2048",
        "at most 100 requests can be in one batch",
    ],
)
def test_a_limit_of_texts_is_known_by_what_is_said(message: str) -> None:
    found = fault(Status(message, status_code=422))
    assert (found.code, found.then) == ("TOO_MANY_TEXTS", "split")


@pytest.mark.parametrize(
    "message",
    [
        "Unknown model: m",
        "model 'm' not found",
        "The model `m` does not exist",
        "API key not valid. Please pass a valid API key",
    ],
)
def test_a_400_about_the_model_or_the_key_stops_what_has_never_worked_and_splits_what_has(message: str) -> None:
    assert fault(Status(message, status_code=400)).then == "stop"
    assert fault(Status(message, status_code=400), proven=True).then == "split"


def test_a_400_about_another_parameter_than_the_texts_is_no_texts_error() -> None:
    assert fault(Status("no", status_code=400, param="encoding_format")).then == "stop"
    assert fault(Status("no", status_code=400, param="input")).then == "split"
    assert fault(Status("no", status_code=400, param="$.input[3]")).then == "split"
    assert fault(Status("no", status_code=400, param=None)).then == "split"


@pytest.mark.parametrize(
    "exc",
    [
        Status("you exceeded your quota", status_code=429, code="insufficient_quota"),
        Status("insufficient credit", status_code=429),
    ],
)
def test_a_rate_limit_that_no_wait_lifts_stops_the_run(exc: Exception) -> None:
    assert fault(exc).then == "stop"


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (TimeoutError(), "TIMEOUT"),
        (type("APITimeoutError", (Exception,), {})(), "TIMEOUT"),
        (ConnectionResetError(), "PROVIDER_UNAVAILABLE"),
        (type("TransportError", (Exception,), {})(), "PROVIDER_UNAVAILABLE"),
        (type("Sub", (type("APIConnectionError", (Exception,), {}),), {})(), "PROVIDER_UNAVAILABLE"),
        (json.JSONDecodeError("no", "{", 1), "PROVIDER_UNAVAILABLE"),
    ],
)
def test_what_has_no_status_is_known_by_its_class(exc: Exception, code: str) -> None:
    found = fault(exc, proven=True)
    assert (found.code, found.again) == (code, "while there is time")


@pytest.mark.parametrize("exc", [ValueError("no"), TypeError("no"), KeyError("no")])
def test_what_is_no_services_fault_is_not_explained(exc: Exception) -> None:
    assert fault_of(exc, PLACE, proven=False) is None


def test_a_certificate_that_cannot_be_verified_will_not_be_by_waiting() -> None:
    lost = ConnectionError("no")
    lost.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    found = fault(lost)
    assert (found.then, "certificate" in found.message) == ("stop", True)


def test_an_answer_closes_the_circuit_and_no_answer_counts_for_opening_it() -> None:
    assert [fault(Status(status_code=s)).answered for s in (400, 401, 429)] == [True, True, True]
    assert [fault(e).answered for e in (Status(status_code=500), TimeoutError(), OSError())] == [False, False, False]


def test_only_what_says_that_it_was_too_much_slows_down() -> None:
    assert [fault(Status(status_code=s)).too_much for s in (429, 503, 504)] == [True, True, True]
    assert [fault(Status(status_code=s)).too_much for s in (400, 401, 500)] == [False, False, False]


@pytest.mark.parametrize(
    "attributes",
    [
        {"headers": {"Retry-After": "7"}},
        {"response": Status(headers={"retry-after": "7"})},
        {"headers": None, "response": Status(headers={"retry-after": "7"})},
    ],
    ids=["of the error", "of its response", "of its response alone"],
)
def test_what_is_asked_to_be_waited_is_read_wherever_the_headers_are(attributes: dict[str, Any]) -> None:
    assert fault(Status(status_code=429, **attributes)).wait == 7.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "too hot"}}, "too hot"),
        ({"message": "too hot"}, "too hot"),
        ({"detail": [{"msg": "too hot"}, {"msg": "too cold"}]}, "too hot; too cold"),
        ({"error": "too hot", "error_type": "Heat"}, "too hot"),
        ("too\nhot", "too hot"),
        ({}, "itself"),
        (None, "itself"),
    ],
)
def test_the_message_is_what_the_service_says(body: object, said: str) -> None:
    assert fault(Status("itself", status_code=500, body=body)).message == f"svc at http://x answered 500: {said}"


def test_a_message_is_short_and_without_the_key() -> None:
    message = fault(Status("your key sk-secret is wrong " * 100, status_code=500)).message
    assert "sk-secret" not in message
    assert len(message) < 400


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_named_by_its_variable_and_nothing_of_what_is_said_is_repeated(status: int) -> None:
    message = fault(Status("Incorrect API key: sk-sec***", status_code=status)).message
    assert "the key in SVC_KEY" in message
    assert "sk-" not in message


def test_a_bad_reply_keeps_its_code() -> None:
    found = fault(BadReply("width 9", "DIMENSION_MISMATCH"))
    assert (found.code, found.then, found.again) == ("DIMENSION_MISMATCH", "split", "once")


def test_the_key_is_in_no_picture_of_a_place() -> None:
    assert "secret" not in f"{PLACE} {PLACE!r}"
