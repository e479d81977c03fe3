"""Texts into tokens, and tokens into a padded batch, by a model's own fast tokenizer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from vjaccel.embedding.providers.protocol import Prepared
from vjaccel.embedding.providers.windows import Windows, cut

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["FastTokens", "fast_tokens"]


CHARACTERS = 1 << 20
"""What is tokenised at once: until its numbers are taken, a token was measured to take 400 bytes."""


class FastTokens:
    """A fast tokenizer, held so that several threads may use it.

    Whether it pads and truncates is a setting of the tokenizer itself, and changing it while another thread encodes is an
    error ("Already borrowed"): whatever may change it happens under `lock`.
    """

    def __init__(self, tokenizer: Any, longest: int) -> None:
        self.lock = threading.Lock()
        self._tokenizer = tokenizer
        self._rust = tokenizer.backend_tokenizer
        self._longest = longest
        self._with_types = "token_type_ids" in tokenizer.model_input_names

    def cut_off(self, texts: list[str], prompt: str) -> Prepared:
        """Each text's tokens, as many as the model takes: an int32 array of ids, and of types where the model takes them."""
        items, lost = [], []
        for encoding in self._encoded(_prompted(texts, prompt), cut=True):
            items.append(self._item(encoding))
            lost.append(_overflow(encoding))
        return Prepared(items, _lengths(items), np.array(lost, np.int64), counted=True)

    def refused(self, texts: list[str], prompt: str) -> Prepared:
        """As `cut_off`, but a text that is too long is refused instead."""
        found = self.cut_off(texts, prompt)
        whole = found.lengths + found.lost
        refused = {int(i): self._too_long(int(whole[i])) for i in np.flatnonzero(found.lost)}
        return found._replace(lengths=whole, lost=np.zeros_like(whole), refused=refused)

    def in_windows(self, texts: list[str], prompt: str) -> Prepared:
        """As `cut_off`, but a text that is too long is cut into windows: each item is `Windows`."""
        with self.lock:
            self._rust.no_padding()
            self._rust.no_truncation()
            prompt_ids = self._rust.encode(prompt, add_special_tokens=False).ids if prompt else []
        refused: dict[int, str] = {}
        items = []
        for i, encoding in enumerate(self._encoded(_prompted(texts, prompt), cut=False)):
            tokens = self._item(encoding)
            first, last = _special(encoding) if tokens.shape[1] > self._longest else (0, 0)
            before = first + _shared(tokens[0, first:], prompt_ids)
            windows = cut(tokens, self._longest, before, last)
            if windows is None:
                windows = Windows(tokens[:, : self._longest], 0, 0, self._longest, self._longest, 1)
                refused[i] = f"{self._too_long(tokens.shape[1])}, of which {before + last} go around each window"
            items.append(windows)
        lengths = np.fromiter((item.lengths.sum() for item in items), np.int64, len(items))
        chunks = np.fromiter((item.count for item in items), np.int64, len(items))
        return Prepared(items, lengths, np.zeros_like(lengths), counted=True, chunks=chunks, refused=refused)

    def padded(self, items: list[np.ndarray], tensor: Callable[[np.ndarray], Any]) -> dict[str, Any]:
        """What the model takes for some prepared items: as its tokenizer would pad them, to the longest."""
        width = max(item.shape[1] for item in items)
        values = np.empty((1 + self._with_types, len(items), width), np.int64)
        values[0] = self._tokenizer.pad_token_id or 0
        values[1:] = self._tokenizer.pad_token_type_id
        mask = np.zeros((len(items), width), np.int64)
        left = self._tokenizer.padding_side == "left"
        for row, item in enumerate(items):
            place = slice(width - item.shape[1], None) if left else slice(item.shape[1])
            values[:, row, place] = item
            mask[row, place] = 1
        named = dict(zip(("input_ids", "token_type_ids"), values, strict=False))
        return {name: tensor(value) for name, value in {**named, "attention_mask": mask}.items()}

    def _encoded(self, texts: list[str], *, cut: bool) -> Iterator[Any]:
        """What the tokenizer makes of each text, some texts at a time, and none kept that was taken."""
        for some in _together(texts):
            with self.lock:
                self._rust.no_padding()
                if cut:
                    self._rust.enable_truncation(self._longest, direction=self._tokenizer.truncation_side)
                else:
                    self._rust.no_truncation()
                encodings = self._rust.encode_batch_fast(some)
            encodings.reverse()
            while encodings:
                yield encodings.pop()

    def _item(self, encoding: Any) -> np.ndarray:
        return np.array([encoding.ids, encoding.type_ids] if self._with_types else [encoding.ids], np.int32)

    def _too_long(self, tokens: int) -> str:
        return f"it has {tokens:,} tokens, and the model takes {self._longest:,}"


def fast_tokens(model: SentenceTransformer) -> FastTokens | None:
    """The model's tokens, where batches can be made from them as its own preparing would; else None."""
    from sentence_transformers.base.modules import Transformer

    first, longest = model[0], model.max_seq_length
    if not isinstance(first, Transformer) or "message" in first.modalities or longest is None:
        return None
    # Options for its tokenizer, such as another length, are the model's own business.
    if first.processing_kwargs or not getattr(model.tokenizer, "is_fast", False):
        return None
    return FastTokens(model.tokenizer, longest)


def _prompted(texts: list[str], prompt: str) -> list[str]:
    return [prompt + text for text in texts] if prompt else texts


def _together(texts: list[str]) -> Iterator[list[str]]:
    """The texts in lists of at most `CHARACTERS`, or of one that is longer."""
    some: list[str] = []
    size = 0
    for text in texts:
        if some and size + len(text) > CHARACTERS:
            yield some
            some, size = [], 0
        some.append(text)
        size += len(text)
    if some:
        yield some


def _lengths(items: list[np.ndarray]) -> np.ndarray:
    return np.fromiter((item.shape[1] for item in items), np.int64, len(items))


def _overflow(encoding: Any) -> int:
    return sum(len(part) - sum(part.special_tokens_mask) for part in encoding.overflowing)


def _special(encoding: Any) -> tuple[int, int]:
    """How many special tokens are before a text, and how many after it."""
    own = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    return int(own[0]), len(encoding) - 1 - int(own[-1])


def _shared(ids: np.ndarray, prompt: list[int]) -> int:
    """How many tokens of a prompt its text begins with: the last ones may be other ones where the two meet."""
    known = np.array(prompt[: len(ids)], np.int64)
    differ = np.flatnonzero(ids[: len(known)] != known)
    return int(differ[0]) if len(differ) else len(known)
