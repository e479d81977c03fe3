"""The report's sections on embedding, and on search over codes."""

from __future__ import annotations

from collections import defaultdict

from vjaccel.benchmark.figures import Series, is_gpu, subject_of, timing
from vjaccel.benchmark.results import Embedding, Recall, Run
from vjaccel.benchmark.words import deviation
from vjaccel.pages.marks import SYMBOLS, Mark
from vjaccel.pages.page import Section, Table
from vjaccel.pages.plots import Dot, Line, dots_plot, linear, logarithmic
from vjaccel.pages.words import percent, rate, scaled, seconds

__all__ = ["embedding_section", "recall_section"]


def embedding_section(run: Run, look: dict[Series, Mark]) -> Section:
    """Tokens a second by device, dtype and batch."""
    title = "Embedding: tokens a second"
    good = [e for e in run.embedding if e.refused is None and e.seconds]
    if not good:
        return Section(
            "embedding", title, ["No embedding was measured in this run; `vjaccel bench --embed` measures it."]
        )
    signs = _signs(run, look, [(e.subject, e.dtype) for e in good])
    groups: dict[tuple[str, str], list[Embedding]] = defaultdict(list)
    for e in good:
        groups[e.model, e.unit].append(e)
    plots = []
    for (model, unit), group in groups.items():
        parts: dict[tuple[str, str], list[Embedding]] = defaultdict(list)
        for e in sorted(group, key=lambda e: e.batch):
            parts[e.subject, e.dtype].append(e)
        lines = [
            Line(
                f"{subject} {dtype}",
                signs[subject, dtype],
                [[Dot(e.batch, _tokens(e), _embedding_hover(e)) for e in own]],
            )
            for (subject, dtype), own in parts.items()
        ]
        plots.append(
            dots_plot(
                f"{model}, by {unit} a batch",
                f"Tokens a second of {model} against the batch; the table has the same figures.",
                lines,
                logarithmic(f"{unit} a batch", [e.batch for e in group], scaled),
                logarithmic("tokens/s", [_tokens(e) for e in group], scaled),
            )
        )
    tables = [
        Table(
            f"{model}, by {unit} a batch",
            ("subject, dtype", "batch", "tokens/s", "spread", "deviation"),
            [
                (f"{e.subject} {e.dtype}", str(e.batch), scaled(_tokens(e)), percent(timing(e.seconds).spread),
                 deviation(e.error))
                for e in group
            ],
        )
        for (model, unit), group in groups.items()
    ]  # fmt: skip
    words = [
        "The same texts through the same model; tokens are counted as the model's tokenizer gives them, without padding."
    ]
    legend = [(f"{subject} {dtype}", mark) for (subject, dtype), mark in signs.items()]
    return Section("embedding", title, words, legend, plots, tables)


def recall_section(run: Run, look: dict[Series, Mark]) -> Section:
    """Recall against speed."""
    title = "Quantized search: recall against speed"
    good = [r for r in run.recall if r.seconds]
    if not good:
        return Section("recall", title, ["No search over codes was measured in this run."])
    signs = _signs(run, look, [(r.subject, r.how) for r in good])
    groups: dict[tuple[int, int], list[Recall]] = defaultdict(list)
    for r in good:
        groups[r.rows, r.dim].append(r)
    plots = []
    for (rows, dim), group in groups.items():
        low = min(0.9, *(r.recall_at_10 for r in group))
        lines = [
            Line(
                f"{r.subject}, {r.how}",
                signs[r.subject, r.how],
                [[Dot(r.recall_at_10, _queries(r), _recall_hover(r))]],
                False,
            )
            for r in group
        ]
        plots.append(
            dots_plot(
                f"{scaled(rows)} rows of {dim}",
                f"Queries a second against recall on {rows} rows; the table has the same figures.",
                lines,
                linear("recall at 10", low, 1.0, lambda x: f"{x:.3g}"),
                logarithmic("queries/s", [_queries(r) for r in group], scaled),
            )
        )
    tables = [
        Table(
            f"{scaled(rows)} rows of {dim}",
            ("subject, how", "recall at 10", "queries/s", "a call", "spread"),
            [
                (f"{r.subject}, {r.how}", f"{r.recall_at_10:.4f}", scaled(_queries(r)), seconds(timing(r.seconds).median),
                 percent(timing(r.seconds).spread))
                for r in group
            ],
        )
        for (rows, dim), group in groups.items()
    ]  # fmt: skip
    words = [
        "What share of the true ten nearest a search finds, against the queries that it answers a second: up and to the right "
        "is better. Vectors that were made at random have less structure than those of texts, and codes lose more on them.",
    ]
    legend = [(f"{subject}, {how}", mark) for (subject, how), mark in signs.items()]
    return Section("recall", title, words, legend, plots, tables)


def _signs(run: Run, look: dict[Series, Mark], keys: list[tuple[str, str]]) -> dict[tuple[str, str], Mark]:
    """A sign of its own for each; the colour is that which the subject has everywhere."""
    colours = {series.subject: mark.colour for series, mark in look.items()}
    names = list(SYMBOLS)
    return {
        key: Mark(colours[key[0]], names[i % len(names)], gpu, "solid" if gpu else "dot")
        for i, key in enumerate(dict.fromkeys(keys))
        for gpu in (is_gpu(subject_of(run, key[0]).device),)
    }


def _tokens(e: Embedding) -> float:
    return e.tokens / timing(e.seconds).median


def _queries(r: Recall) -> float:
    return r.queries / timing(r.seconds).median


def _embedding_hover(e: Embedding) -> str:
    return f"{e.model}, {e.batch} {e.unit} a batch\n{rate(_tokens(e), 'tokens/s')}"


def _recall_hover(r: Recall) -> str:
    return f"{scaled(r.rows)} rows: recall {r.recall_at_10:.4f}\n{rate(_queries(r), 'queries/s')}"
