"""What a failed request means: one table from HTTP statuses to what is to be done, for all providers alike.

No SDK is imported here. They name things differently (``status_code``, ``http_status``, ``code``) and wrap one of several HTTP
libraries, so that statuses are read from whichever attribute there is, and lost connections known by their classes' names.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from vjaccel.embedding.limits.backoff import retry_after

__all__ = ["BadReply", "Changed", "Fault", "Place", "Unfit", "fault_of"]

LONGEST_MESSAGE = 300


class Place(NamedTuple):
    """Whom a request was for, as errors name it.

    Attributes
    ----------
    provider, model : str
        As in ``provider:model``.
    endpoint : str
        Without what may be secret in a URL; empty for the provider's usual place.
    key_name : str
        The variable that the key is read from; empty where there is none.
    key : str
        Cut out of whatever the service says.
    """

    provider: str
    model: str
    endpoint: str = ""
    key_name: str = ""
    key: str = ""

    def __str__(self) -> str:
        return f"{self.provider} at {self.endpoint}" if self.endpoint else self.provider

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"


class BadReply(Exception):
    """A reply no vector of which can be used: too few or too many, of another width, in an order that nobody can tell.

    Attributes
    ----------
    tokens : int or None
        What the service says it has read for it all the same, and is paid for.
    """

    def __init__(self, message: str, code: str = "INVALID_REPLY", *, tokens: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.tokens = tokens


class Changed(Exception):
    """Raised in a request whose service did not take an option that can be done without, and now is: ask again at once."""


class Unfit(Exception):
    """Raised for a reply that shows that this model is not what was asked for."""


class Fault(NamedTuple):
    """What a failure means.

    Attributes
    ----------
    code : str
        Of the errors of the texts, if they get no vectors.
    then : {"stop", "split", "give up"}
        What is to be done in the end; as in `BatchFailed`.
    again : {"no", "once", "while there is time", "at once"}
        Whether the request is to be sent again.
    answered : bool
        Whether the endpoint works, whatever it thinks of the request.
    too_much : bool
        Whether the service has been asked for more than it can do now.
    by_texts : bool
        Whether it may be the texts that make the service fail.
    message : str
        For people, without the key.
    brief : str
        The same without what the service says, which may repeat texts: for a log.
    wait : float or None
        Seconds that the service asks to be waited.
    """

    code: str
    then: Literal["stop", "split", "give up"]
    again: Literal["no", "once", "while there is time", "at once"]
    answered: bool
    too_much: bool
    by_texts: bool = False
    message: str = ""
    brief: str = ""
    wait: float | None = None


REFUSED = Fault("PROVIDER_REFUSED", "stop", "no", answered=True, too_much=False)
TOO_LONG = Fault("TOKEN_LIMIT_EXCEEDED", "split", "no", answered=True, too_much=False)
TOO_MANY = Fault("TOO_MANY_TEXTS", "split", "no", answered=True, too_much=False)
REJECTED = Fault("REQUEST_REJECTED", "split", "no", answered=True, too_much=False)
LIMITED = Fault("RATE_LIMITED", "give up", "while there is time", answered=True, too_much=True)
DOWN = Fault("PROVIDER_UNAVAILABLE", "give up", "while there is time", answered=False, too_much=False)
LATE = Fault("TIMEOUT", "give up", "while there is time", answered=False, too_much=True)
BUSY = DOWN._replace(too_much=True)
CRASHED = DOWN._replace(by_texts=True)
UNREADABLE = DOWN._replace(answered=True)
BAD = Fault("INVALID_REPLY", "split", "once", answered=True, too_much=False)
STRANGE = REFUSED._replace(again="once")
"""Of what has never answered as a service of embeddings does: it is none, and no half of a request will fare better."""

BY_STATUS = {
    400: REJECTED,
    408: LATE,
    409: DOWN,
    413: TOO_LONG,
    422: REJECTED,
    425: DOWN,
    429: LIMITED,
    503: BUSY,
    504: LATE,
    529: BUSY,  # "overloaded" of some services
}
"""Every other 4xx is `REFUSED`, as 401, 402, 403, 404, 405 and 410 are; every other 5xx is `CRASHED`; a 2xx is `UNREADABLE`."""

LATE_NAMES = {"TimeoutError", "TimeoutException", "Timeout", "APITimeoutError"}
LOST_NAMES = {
    "OSError",
    "TransportError",
    "RequestError",
    "APIConnectionError",
    "ClientConnectionError",
    "ClientPayloadError",
}
UNREADABLE_NAMES = {"JSONDecodeError", "UnicodeDecodeError", "APIResponseValidationError", "ValidationError"}

TOKEN_LIMIT = re.compile(
    r"(context|sequence|input) length|max(imum)?[ _-](\w+[ _-])?(tokens|length)|too (long|large|many tokens)|token limit"
    r"|exceeds? .{0,40}(tokens|length)|(less|fewer) than \d+ tokens|tokens? .{0,30}exceed",
    re.IGNORECASE,
)
INPUT_LENGTH = re.compile(r"input length exceeds", re.IGNORECASE)
ITEM_LIMIT = re.compile(
    r"batch[ _]size|array too long|too many (inputs|texts|items|documents)"
    r"|at most \d+ (inputs?|texts|items|documents|requests)|number of (inputs|texts|documents|requests)",
    re.IGNORECASE,
)
UNKNOWN_MODEL = re.compile(
    r"(unknown|invalid|unsupported|no such) model|\bmodel\b.{0,80}(not found|not exist|not available|not supported|unknown)"
    r"|api[ _-]?key.{0,20}(not valid|invalid|missing|expired)|(invalid|missing|expired) api[ _-]?key",
    re.IGNORECASE,
)
NO_CREDIT = re.compile(r"insufficient_quota|insufficient (quota|funds|credit|balance)", re.IGNORECASE)


def fault_of(exc: BaseException, place: Place, *, proven: bool) -> Fault | None:
    """What the failure of a request means; None for one that is nobody's but the program's.

    Parameters
    ----------
    proven : bool
        Whether a request to this model has succeeded: then no 400 means that there is no such model, and no bad reply that
        this is no service of embeddings.
    """
    if isinstance(exc, Changed):
        return REJECTED._replace(again="at once", message=str(exc))
    if isinstance(exc, BadReply):
        if not proven and exc.code == BAD.code:
            return STRANGE._replace(message=_strange(str(exc), place))
        return BAD._replace(code=exc.code, message=str(exc))
    if isinstance(exc, Unfit):
        return REFUSED._replace(message=f"{place} cannot serve {place.provider}:{place.model} as asked: {exc}")
    status, said = _status(exc), _said(exc, place)
    kind = _kind(exc) if status is None else _by_status(status, said, exc, proven)
    if kind is None:
        return None
    where = f"{place} answered {status}" if status is not None else f"{place}: {type(exc).__name__}"
    message = f"{where}: {said}" if said else where
    if kind is UNREADABLE and not proven:
        kind, message = STRANGE, _strange(f"it is not JSON ({said})", place)
    elif kind.then == "stop":
        message = _refusal(status, said, place)
    return kind._replace(message=message, brief=where, wait=retry_after(_headers(exc)))


def _by_status(status: int, said: str, exc: BaseException, proven: bool) -> Fault:
    if status < 300:
        return UNREADABLE
    if status == 429 and NO_CREDIT.search(said + str(getattr(exc, "code", ""))):
        return REFUSED  # it comes as a rate limit, but no wait helps
    found = BY_STATUS.get(status, REFUSED if status < 500 else CRASHED)
    if status >= 500:
        # Ollama says it with 400, 413 or 500, by its version; no wait makes a text shorter.
        return TOO_LONG if INPUT_LENGTH.search(said) else found
    if found not in (REJECTED, TOO_LONG):
        return found
    # A parameter that is refused is refused with every text.
    parameter = getattr(exc, "param", None)
    elsewhere = isinstance(parameter, str) and "input" not in parameter
    if found is REJECTED and not proven and (elsewhere or UNKNOWN_MODEL.search(said)):
        return REFUSED
    if ITEM_LIMIT.search(said):
        return TOO_MANY
    return TOO_LONG if TOKEN_LIMIT.search(said) else found


def _kind(exc: BaseException) -> Fault | None:
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(exc)):
        return REFUSED
    names = {cls.__name__ for cls in type(exc).__mro__}
    for known, kind in ((LATE_NAMES, LATE), (LOST_NAMES, DOWN), (UNREADABLE_NAMES, UNREADABLE)):
        if names & known:
            return kind
    return None


def _causes(exc: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while exc is not None and exc not in found:
        found.append(exc)
        exc = exc.__cause__ or exc.__context__
    return found


def _status(exc: BaseException) -> int | None:
    for name in ("status_code", "http_status", "code"):
        value = getattr(exc, name, None)
        if isinstance(value, int) and 100 <= value < 600:
            return value
    return None


def _headers(exc: BaseException) -> Mapping[str, str]:
    for holder in (exc, getattr(exc, "response", None)):
        headers = getattr(holder, "headers", None)
        if isinstance(headers, Mapping):
            return {str(name): str(value) for name, value in headers.items()}
    return {}


def _said(exc: BaseException, place: Place) -> str:
    """What the service says, in one line, without the key."""
    body: Any = getattr(exc, "body", None) or getattr(exc, "json_body", None) or getattr(exc, "details", None)
    while isinstance(body, Mapping):
        inner = next((body[name] for name in ("error", "message", "detail", "error_message") if body.get(name)), None)
        body = inner
    if isinstance(body, list):
        body = "; ".join(str(part.get("msg", part)) if isinstance(part, Mapping) else str(part) for part in body)
    text = body if isinstance(body, str) and body else str(exc)
    if place.key:
        text = text.replace(place.key, "***")
    return " ".join(text.split())[:LONGEST_MESSAGE]


def _strange(found: str, place: Place) -> str:
    return (
        f"{place} does not answer as {place.provider} does: {found}; check the address (--base-url, base_url=), which is used "
        "as given, and what answers there"
    )


def _refusal(status: int | None, said: str, place: Place) -> str:
    name = f"{place.provider}:{place.model}"
    if status in (401, 403):
        # Services repeat a part of the key in what they say of it.
        key = f"the key in {place.key_name}" if place.key_name else "the key"
        return f"{place} refuses {key} for the model {place.model!r} ({status}): check the key and what it is allowed to use"
    if status == 404:
        return f"{place} does not know the model {place.model!r}, or is not at that address (404: {said}): check both"
    if status is None:
        return f"{place} has a certificate that cannot be verified ({said}): check the address, or trust its authority"
    return f"{place} refuses {name} ({status}: {said}): check the model, its options, and the account"
