"""Texts into tokens, and tokens into a padded batch, by a model's own fast tokenizer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vjaccel.embedding.providers.protocol import Prepared

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["FastTokens", "fast_tokens"]


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

    def prepared(self, texts: list[str]) -> Prepared:
        """Each text's tokens: an int64 array of ids, and of types where the model takes them."""
        with self.lock:
            self._rust.no_padding()
            self._rust.enable_truncation(self._longest, direction=self._tokenizer.truncation_side)
            encodings = self._rust.encode_batch_fast(texts)
        items = [
            np.array([encoding.ids, encoding.type_ids] if self._with_types else [encoding.ids], np.int64)
            for encoding in encodings
        ]
        lengths = np.fromiter((item.shape[1] for item in items), np.int64, len(items))
        lost = np.fromiter((_overflow(encoding) for encoding in encodings), np.int64, len(items))
        return Prepared(items, lengths, lost, counted=True)

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


def _overflow(encoding: Any) -> int:
    return sum(len(part) - sum(part.special_tokens_mask) for part in encoding.overflowing)
