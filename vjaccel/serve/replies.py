"""What the service is asked and answers, as OpenAI's API has it."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vjaccel.serve.batching import Answer

__all__ = ["Asked", "Refused", "embeddings", "read"]

Text = Annotated[str, Field(strict=True)]


class Refused(Exception):
    """A request that is answered with an error.

    Attributes
    ----------
    status : int
    param : str or None
        Which of its parts is wrong.
    code : str or None
        For programs.
    headers : dict of str to str
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, headers or {}

    def body(self) -> bytes:
        """As OpenAI's API says it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


class Asked(BaseModel):
    """The body of a request for embeddings."""

    model_config = ConfigDict(extra="ignore")

    model: str
    input: list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(strict=True, ge=1)] | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not value:
            raise ValueError("it is a text or a list of texts, and not empty")
        strange = next((i for i, one in enumerate(value) if not isinstance(one, str)), None)
        if strange is not None:
            what = "numbers of tokens, which depend on a tokenizer, are not taken: send texts"
            raise ValueError(what if isinstance(value[strange], int | list) else f"number {strange} is no text")
        return value


def read(body: bytes) -> Asked:
    """What a body asks for.

    Raises
    ------
    Refused
    """
    try:
        return Asked.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        said = first["msg"].removeprefix("Value error, ")
        raise Refused(400, f"{where}: {said}" if where else said, where or None) from exc


def embeddings(asked: Asked, answer: Answer, vectors: np.ndarray) -> bytes:
    """The body of an answer; `vectors` are float32 (n, dim)."""
    made = np.ascontiguousarray(vectors, "<f4")
    rows: list[Any] = list(made)
    if asked.encoding_format == "base64":
        rows = [base64.b64encode(row.tobytes()).decode() for row in made]
    # OpenAI's clients insist on a number.
    tokens = answer.tokens or 0
    found = {
        "object": "list",
        "model": asked.model,
        "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)
