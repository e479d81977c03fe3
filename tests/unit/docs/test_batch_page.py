"""The page on batches lists every key of the configuration, and every code of an item."""

from __future__ import annotations

from pathlib import Path

import pytest

import vjaccel as vj
from vjaccel.config import OperationSettings, ProviderSettings

PAGE = (Path(__file__).parents[3] / "docs" / "batch.md").read_text(encoding="utf-8")
SECTIONS = vj.BatchConfig()
KEYS = {
    key
    for section in ("embedding_config", "vector_config", "performance_config", "monitoring_config")
    for key in type(getattr(SECTIONS, section)).model_fields
} - {"provider_settings", "operation_settings"}
CODES = ("INVALID_TEXT", "EMBEDDING_GENERATION_FAILED", "NIL_VECTOR", "EMPTY_EMBEDDING", "INVALID_EMBEDDING",
         "DIMENSION_MISMATCH", "INVALID_VECTOR_ID", "DUPLICATE_ID", "ALREADY_EXISTS", "NOT_FOUND", "INVALID_METADATA",
         "TIMEOUT", "WORKER_DIED")  # fmt: skip


@pytest.mark.parametrize("key", sorted({*KEYS, *ProviderSettings.model_fields, *OperationSettings.model_fields}))
def test_a_key_is_on_the_page(key: str) -> None:
    assert f"`{key}`" in PAGE


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_on_the_page(code: str) -> None:
    assert f"`{code}`" in PAGE
