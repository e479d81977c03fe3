"""A corpus on NumPy, changed in ways that nobody thought of, against one made anew of the same rows."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import vjaccel as vj
from vjaccel.arrays.testing.oracle import METRICS

DIM = 5


class Changes(RuleBasedStateMachine):
    """`corpus`, and the rows that it should have."""

    @initialize(
        rows=st.integers(0, 20), seed=st.integers(0, 99), metric=st.sampled_from(METRICS),
        dtype=st.sampled_from(["float16", "float32", "float64"]),
    )  # fmt: skip
    def make(self, rows: int, seed: int, metric: str, dtype: str) -> None:
        self.generator = np.random.default_rng(seed)
        self.rows = self.drawn(rows).astype(dtype)
        self.corpus = vj.Corpus(self.rows.copy(), metric=metric, backend="numpy")

    def drawn(self, count: int) -> np.ndarray:
        """Small whole numbers, so that many rows are equal; some huge, tiny or NaN."""
        rows = self.generator.integers(-1, 2, (count, DIM)).astype(np.float64)
        scale = self.generator.choice([1, 1, 1, 1, 1, 0, 3e4, 1e-4, np.nan], (count, 1))
        return rows * scale

    @rule(count=st.integers(0, 30))
    def add(self, count: int) -> None:
        rows = self.drawn(count).astype(self.rows.dtype)
        self.corpus.add(rows)
        self.rows = np.concatenate([self.rows, rows])

    @rule(share=st.floats(0, 1))
    def update(self, share: float) -> None:
        positions = self.generator.permutation(len(self.rows))[: int(share * len(self.rows))]
        self.rows[positions] = self.drawn(len(positions))
        self.corpus.update(positions, self.rows[positions])

    @rule(share=st.floats(0, 1))
    def remove(self, share: float) -> None:
        positions = self.generator.permutation(len(self.rows))[: int(share * len(self.rows))]
        self.corpus.remove(positions)
        self.rows = np.delete(self.rows, positions, axis=0)

    @invariant()
    def it_answers_as_one_made_anew(self) -> None:
        anew = vj.Corpus(self.rows, metric=self.corpus.metric, backend="numpy")
        queries, mask = self.drawn(3), self.generator.random(len(self.rows)) < 0.7
        assert len(self.corpus) == len(self.rows)
        np.testing.assert_array_equal(self.corpus.vectors, self.rows)
        for found, expected in (
            (self.corpus.topk(queries, 9), anew.topk(queries, 9)),
            (self.corpus.topk(queries, 9, mask=mask), anew.topk(queries, 9, mask=mask)),
            (self.corpus.within(queries, 0.5), anew.within(queries, 0.5)),
        ):
            for column, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(column, other)


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=40, stateful_step_count=12, derandomize=True, deadline=None, database=None)
