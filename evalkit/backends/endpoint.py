"""What an OpenAI-compatible endpoint is asked, and what each of its replies means. Pure: no client, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from evalkit.backends import sent_of
from evalkit.errors import ModelError
from evalkit.jsonl import parse_object
from evalkit.types import Finish, Request, Response

TRIES, PATIENCE = 5, 10
"""How often a request is sent in all: after failures, and where the endpoint only asks for patience (429)."""
_EXPECTED = "expected openai:URL#MODEL, for instance openai:http://localhost:8000/v1#my-model"
_AGAIN = {408, 409, 425, 429}
_BUSY = {408, 429, 503, 504}
_HINTS = {
    400: "the endpoint does not take such requests",
    401: "give its key in EVALKIT_API_KEY or EVALKIT_API_KEY_FILE",
    403: "the key may not use this model; give another in EVALKIT_API_KEY",
    404: "check the URL, which mostly ends in /v1, and the name after #",
    422: "the endpoint does not take such requests",
}
_TOO_LONG = re.compile(
    r"context_length_exceeded|context.(length|window|size)|max_model_len|(prompt|input)\b.{0,60}\btoo long",
    re.IGNORECASE,
)
LIMITS = ("max_tokens", "max_completion_tokens")
"""What endpoints call the most tokens of an answer: nearly all, and those that refuse the first."""
_FINISHES: Mapping[Any, Finish] = {"stop": "stop", "eos_token": "stop", "length": "length", "max_tokens": "length"}


@dataclass(frozen=True)
class Address:
    """Where an endpoint is, and which of its models is meant."""

    base: str
    """URL before `/chat/completions`, without a slash at its end, user, password or query."""
    name: str
    """The model's name at the endpoint."""

    def __str__(self) -> str:
        return f"openai:{self.base}#{self.name}"

    @property
    def host(self) -> str:
        """Return the host's name in lower case."""
        return urlsplit(self.base).hostname or ""

    @property
    def encrypted(self) -> bool:
        """Say whether the endpoint is spoken to through TLS."""
        return self.base.startswith("https:")


def address_of(where: str) -> Address:
    """Parse `URL#MODEL`; what is refused is not repeated, since it may hold a password.

    Raises:
        ModelError: it is not such a text, or secrets stand in the URL.
    """
    base, _, name = where.partition("#")
    try:
        parts = urlsplit(base)
        host, _ = parts.hostname, parts.port
    except ValueError as fault:
        raise ModelError(f"openai: the URL has no valid host and port ({fault}); {_EXPECTED}") from None
    if "@" in parts.netloc or parts.query:
        raise ModelError(
            f"openai: a URL with user, password or query is not taken, it may be secret; give the key in "
            f"EVALKIT_API_KEY; {_EXPECTED}"
        )
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", base):
        raise ModelError(f"openai: no http or https URL; {_EXPECTED}")
    if not name.strip() or not name.isprintable():
        raise ModelError(f"openai: no model's name after the URL; {_EXPECTED}")
    return Address(base.rstrip("/"), name)


@dataclass(frozen=True)
class Reply:
    """What came back over the wire, whatever it means."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers, names in lower case."""
    body: bytes = b""
    """The body as it was sent, at most as long as a body may be."""
    fault: str = ""
    """Why the body was not read to its end; empty where it was."""


@dataclass(frozen=True)
class Answer:
    """The outcome of a request that needs no further try."""

    response: Response
    """The answer, or the error that stands for it."""
    served: str = ""
    """What the endpoint says answered: model and system fingerprint; empty where it does not."""


@dataclass(frozen=True)
class Again:
    """The outcome of a request that is to be sent again."""

    reason: str
    """One line of what happened."""
    tries: int = TRIES
    """How often the request is sent in all before the reason becomes its error."""
    wait: float | None = None
    """Seconds that the endpoint asks to wait; None: as long as is usual."""
    busy: bool = False
    """The endpoint has too much to do or is away: all requests wait, and fewer are sent at once."""
    stops: bool = False
    """Where nothing at all is answered meanwhile, the run is stopped."""


class Refused(Exception):
    """The endpoint refuses what every request has in common: address, key, model or form."""


def payload_of(request: Request, name: str, limit: str = LIMITS[0]) -> tuple[str, dict[str, Any]]:
    """Return the path under the base URL and the JSON to post there: a chat, or a plain prompt.

    `limit` is the field, one of LIMITS, that holds the most tokens of an answer.
    """
    sampling = request.sampling
    payload: dict[str, Any] = {
        "model": name,
        limit: sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    if sampling.stop:
        payload["stop"] = list(sampling.stop)
    if request.messages:
        return "/chat/completions", payload | {
            "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages]
        }
    return "/completions", payload | {"prompt": request.prompt}


def wants_other_limit(reply: Reply) -> bool:
    """Say whether an endpoint refuses the usual name of the limit of tokens and names the other one."""
    return reply.status == 400 and LIMITS[1] in reply.body.decode(errors="replace")


def outcome_of(reply: Reply, request: Request, now: datetime) -> Answer | Again:
    """Say what a reply means for its request; `now` counts where it names a date to wait for.

    Raises:
        Refused: no request to this endpoint can be answered.
    """
    status = reply.status
    if status in _AGAIN or status >= 500:
        return Again(
            f"the endpoint answers {_said(reply)}",
            tries=PATIENCE if status == 429 else TRIES,
            wait=retry_after(reply.headers.get("retry-after", ""), now),
            busy=status in _BUSY,
            stops=status == 429,
        )
    if 200 <= status < 300:
        return _read(reply, request)
    if status in (400, 413, 422) and _TOO_LONG.search(reply.body.decode(errors="replace")):
        return Answer(failed(request, f"prompt_too_long: the endpoint answers {_said(reply)}"))
    if 300 <= status < 400:
        raise Refused(f"{_said(reply)}: redirects are not followed; give the URL that the endpoint has now")
    raise Refused(f"{_said(reply)}; {_HINTS.get(status, _HINTS[400])}")


def retry_after(text: str, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, 0 or more; None where it says nothing sensible."""
    if re.fullmatch(r"[0-9]{1,18}(\.[0-9]*)?", text.strip()):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def failed(request: Request, error: str) -> Response:
    """Return the response of a request that has no answer."""
    return Response(finish="error", sent=sent_of(request), error=_line(error))


def _read(reply: Reply, request: Request) -> Answer:
    """Read the body of a success."""
    if reply.fault:
        return Answer(failed(request, reply.fault))
    try:
        body = parse_object(reply.body)
    except ValueError as fault:
        kind = reply.headers.get("content-type", "of no type")
        return Answer(failed(request, f"the reply is no JSON object: {len(reply.body):,} bytes, {kind} ({fault})"))
    if body.get("error"):
        return Answer(failed(request, f"the endpoint reports an error: {_message(body)}"))
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return Answer(failed(request, "the reply has no choices"))
    return Answer(_answered(body, choice, request), _served(body))


def _answered(body: Mapping[str, Any], choice: Mapping[str, Any], request: Request) -> Response:
    """Return the response that the first choice of a well-formed body holds."""
    usage = body.get("usage")
    tokens, prompt_tokens = (_count(usage, key) for key in ("completion_tokens", "prompt_tokens"))
    given = choice.get("finish_reason")
    if given is None:
        finish: Finish | None = "length" if tokens == request.sampling.max_new_tokens else "stop"
    else:
        finish = _FINISHES.get(given) if isinstance(given, str) else None
    if finish is None:
        return failed(request, f"the endpoint ended the answer with {given!r}")
    message = choice.get("message")
    text = (message.get("content") if isinstance(message, dict) else None) if request.messages else choice.get("text")
    if not isinstance(text, str):
        return failed(request, f"the reply has no text (finish_reason {given!r})")
    ends = [place for stop in request.sampling.stop if stop and (place := text.find(stop)) >= 0]
    return Response(
        text=text[: min(ends)] if ends else text,  # some endpoints leave the stop text in
        finish="stop" if ends else finish,
        sent=sent_of(request),
        tokens=tokens,
        prompt_tokens=prompt_tokens,
    )


def _served(body: Mapping[str, Any]) -> str:
    parts = (body.get("model"), body.get("system_fingerprint"))
    return _line(" ".join(part for part in parts if isinstance(part, str)))


def _count(usage: Any, key: str) -> int | None:
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _said(reply: Reply) -> str:
    """Return a status with its name, and what the body says about it."""
    try:
        name = f"{reply.status} {HTTPStatus(reply.status).phrase}"
    except ValueError:
        name = str(reply.status)
    try:
        said = _message(parse_object(reply.body))
    except ValueError:
        said = ""  # a page for people
    return f"{name} ({said})" if said else name


def _message(body: Mapping[str, Any]) -> str:
    """Return what an error object says: its message, or all of it."""
    error = body.get("error") or body.get("detail") or body.get("message") or ""
    return _line(str(error.get("message") or error) if isinstance(error, dict) else str(error))


def _line(text: str) -> str:
    return " ".join(text.split())[:240]
