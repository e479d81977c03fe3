"""sentence-transformers models of a few kilobytes, with random weights, made where they are needed."""

from __future__ import annotations

import string
from pathlib import Path
from typing import NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WIDTH = 32
LONGEST = 24
"""Tokens that a tiny model takes, special ones included."""


class Tiny(NamedTuple):
    """A tiny model: where it is, and as sentence-transformers has it."""

    folder: Path
    model: SentenceTransformer


def build(kind: str, folder: Path) -> SentenceTransformer:
    """The model that `KINDS` has under that name, saved to `folder`, as sentence-transformers loads it from there."""
    torch.manual_seed(0)
    modules, options = KINDS[kind](folder.with_name(f"{folder.name}-parts"))
    SentenceTransformer(modules=modules, device="cpu", **options).save(str(folder), create_model_card=False)
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def _tokenizer() -> Tokenizer:
    pieces = [*SPECIAL, *string.ascii_lowercase, *string.digits, *(f"##{c}" for c in string.ascii_lowercase)]
    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return made


def _bert(parts: Path) -> Transformer:
    tokenizer = _tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(tokenizer.get_vocab()), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=LONGEST, type_vocab_size=2,
    )  # fmt: skip
    return _transformer(BertModel(config), fast, parts)


def _decoder(parts: Path, side: str, *, ended: bool = False) -> Transformer:
    tokenizer = _tokenizer()
    if ended:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", padding_side=side,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    config = Qwen2Config(
        vocab_size=fast.vocab_size, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=LONGEST, bos_token_id=None, eos_token_id=None, use_cache=False,
    )  # fmt: skip
    return _transformer(Qwen2Model(config), fast, parts)


def _transformer(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, parts: Path) -> Transformer:
    model.save_pretrained(parts)
    tokenizer.save_pretrained(parts)
    return Transformer(str(parts), max_seq_length=LONGEST)


PROMPTS = {"query": "find: ", "passage": "this says: ", "symmetric": "as is: "}

KINDS = {
    "cls": lambda parts: ([_bert(parts), Pooling(WIDTH, "cls"), Normalize()], {}),
    "mean": lambda parts: ([_bert(parts), Pooling(WIDTH, "mean")], {}),
    "max and mean": lambda parts: ([_bert(parts), Pooling(WIDTH, ("max", "mean"))], {}),
    "last token, padded left": lambda parts: ([_decoder(parts, "left"), Pooling(WIDTH, "lasttoken"), Normalize()], {}),
    "last token, padded right": lambda parts: ([_decoder(parts, "right"), Pooling(WIDTH, "lasttoken")], {}),
    "last token, an end of its own, padded left": lambda parts: (
        [_decoder(parts, "left", ended=True), Pooling(WIDTH, "lasttoken"), Normalize()],
        {"prompts": PROMPTS},
    ),
    "weighted mean": lambda parts: ([_decoder(parts, "right"), Pooling(WIDTH, "weightedmean")], {}),
    "mean by the root of the length": lambda parts: ([_bert(parts), Pooling(WIDTH, "mean_sqrt_len_tokens")], {}),
    "dense": lambda parts: ([_bert(parts), Pooling(WIDTH, "mean"), Dense(WIDTH, 12), Normalize()], {}),
    "static": lambda parts: ([StaticEmbedding(_tokenizer(), embedding_dim=WIDTH)], {}),
    "static, normalized": lambda parts: ([StaticEmbedding(_tokenizer(), embedding_dim=WIDTH), Normalize()], {}),
    "prompts": lambda parts: ([_bert(parts), Pooling(WIDTH, "mean")], {"prompts": PROMPTS}),
    "default prompt": lambda parts: (
        [_bert(parts), Pooling(WIDTH, "mean")],
        {"prompts": PROMPTS, "default_prompt_name": "symmetric"},
    ),
    "prompts left out of the mean": lambda parts: (
        [_bert(parts), Pooling(WIDTH, "mean", include_prompt=False)],
        {"prompts": PROMPTS},
    ),
}  # fmt: skip
