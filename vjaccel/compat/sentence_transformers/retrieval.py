"""Searching, mining and clustering. What that library leaves to chance, equal scores, goes to the lower index here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vjaccel.arrays import Corpus
from vjaccel.compat.sentence_transformers.similarity import cos_sim, metric_of, normalize_embeddings
from vjaccel.compat.sentence_transformers.tensors import Given, batch, host_or_device, tensor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["community_detection", "paraphrase_mining", "paraphrase_mining_embeddings", "semantic_search"]

ScoreFunction: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
Nearest: TypeAlias = Callable[[Any, int], tuple[np.ndarray, np.ndarray]]
"""From queries and k to scores and rows, best first; row -1 where there is none."""


def semantic_search(
    query_embeddings: Given,
    corpus_embeddings: Given,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500000,
    top_k: int = 10,
    score_function: ScoreFunction = cos_sim,
) -> list[list[dict[str, int | float]]]:
    """The `top_k` best entries of the corpus for each query, exactly: as `vjaccel.topk` finds them.

    Parameters
    ----------
    query_embeddings : list, numpy.ndarray or torch.Tensor, shape (n_queries, dim) or (dim,)
        Moved to the corpus' device.
    corpus_embeddings : list, numpy.ndarray or torch.Tensor, shape (n, dim)
    query_chunk_size, corpus_chunk_size : int
        For a `score_function` of your own: what is scored together. Otherwise memory is bounded without.
    top_k : int
    score_function : callable
        `cos_sim`, `dot_score`, `euclidean_sim`, `manhattan_sim`, from here or from that library; or any other.

    Returns
    -------
    list of list of dict
        For each query, best first: ``{"corpus_id": int, "score": float}``. Entries with a NaN are not returned.

    Raises
    ------
    InvalidInput, InvalidType
        As `vjaccel.topk`.

    Examples
    --------
    >>> semantic_search([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]], top_k=1)
    [[{'corpus_id': 1, 'score': 1.0}]]
    """
    corpus = tensor(corpus_embeddings)
    queries = batch(query_embeddings).to(corpus.device)
    if not len(corpus) or not len(queries):
        return [[] for _ in range(len(queries))]
    nearest = _nearest(corpus, score_function, query_chunk_size, corpus_chunk_size)
    scores, ids = nearest(queries, top_k)
    return [
        [{"corpus_id": i, "score": score} for i, score in zip(*row, strict=True) if i >= 0]
        for row in zip(ids.tolist(), scores.tolist(), strict=True)
    ]


def paraphrase_mining(
    model: Any,
    sentences: list[str],
    show_progress_bar: bool = False,
    batch_size: int = 32,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100000,
    max_pairs: int = 500000,
    top_k: int = 100,
    score_function: ScoreFunction = cos_sim,
    truncate_dim: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> list[list[float | int]]:
    """The pairs of sentences that are closest: `paraphrase_mining_embeddings` of what the model makes of them.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
    sentences : list of str
    show_progress_bar, batch_size, truncate_dim, prompt_name, prompt
        For ``model.encode``.
    query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
        For `paraphrase_mining_embeddings`.

    Returns
    -------
    list of [score, i, j]
        ``i < j``, the best first.
    """
    embeddings = model.encode(
        sentences,
        show_progress_bar=show_progress_bar,
        batch_size=batch_size,
        convert_to_tensor=True,
        truncate_dim=truncate_dim,
        prompt_name=prompt_name,
        prompt=prompt,
    )
    return paraphrase_mining_embeddings(
        embeddings, query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
    )


def paraphrase_mining_embeddings(
    embeddings: Given,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100000,
    max_pairs: int = 500000,
    top_k: int = 100,
    score_function: ScoreFunction = cos_sim,
) -> list[list[float | int]]:
    """The closest pairs among the `top_k` nearest others of each vector.

    Parameters
    ----------
    embeddings : list, numpy.ndarray or torch.Tensor, shape (n, dim)
    query_chunk_size : int
        Vectors whose neighbours are held at once.
    corpus_chunk_size : int
        As in `semantic_search`.
    max_pairs : int
        The most that are returned.
    top_k : int
    score_function : callable
        As in `semantic_search`; symmetric.

    Returns
    -------
    list of [score, i, j]
        ``i < j``, the best first, each pair once.

    Raises
    ------
    InvalidInput, InvalidType
        As `vjaccel.topk`.

    Examples
    --------
    >>> paraphrase_mining_embeddings([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]], max_pairs=1)
    [[1.0, 0, 2]]
    """
    rows = tensor(embeddings)
    n = len(rows)
    if n < 2:
        return []
    nearest = _nearest(rows, score_function, query_chunk_size, corpus_chunk_size)
    best, pairs = np.empty(0, np.float32), np.empty(0, np.int64)
    for start in range(0, n, query_chunk_size):
        scores, found = nearest(rows[start : start + query_chunk_size], min(top_k + 1, n))
        own = np.arange(start, start + len(found))[:, None]
        other = (found != own) & (found >= 0)
        other &= np.cumsum(other, axis=1) <= top_k  # a vector may be missing from its own list: many equals before it
        low, high = np.minimum(found, own)[other], np.maximum(found, own)[other]
        best, pairs = _best_pairs(np.append(best, scores[other]), np.append(pairs, low * n + high), max_pairs)
    return [[score, *divmod(pair, n)] for score, pair in zip(best.tolist(), pairs.tolist(), strict=True)]


def community_detection(
    embeddings: Given,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool = False,
) -> list[list[int]]:
    """Groups of vectors whose cosine with a central one is at least `threshold`; they do not overlap.

    Parameters
    ----------
    embeddings : list, numpy.ndarray or torch.Tensor, shape (n, dim)
    threshold : float
    min_community_size : int
        Smaller groups are left out.
    batch_size : int
        Vectors that are compared with all others at once.
    show_progress_bar : bool
        Taken, and not heeded.

    Returns
    -------
    list of list of int
        The largest first; in each the central vector, then the others, the closest first.

    Raises
    ------
    InvalidInput, InvalidType
        As `vjaccel.similarity`.

    Examples
    --------
    >>> community_detection([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], threshold=0.9, min_community_size=2)
    [[0, 1]]
    """
    if not len(embeddings):
        return []
    rows = batch(embeddings)
    if len(rows) < min_community_size:
        return []
    found = sorted(_neighbourhoods(rows, threshold, min_community_size, batch_size), key=lambda c: -len(c[1]))
    used = np.zeros(len(rows), bool)
    communities: list[list[int]] = []
    for center, community in found:
        if used[center]:
            continue
        free = community[~used[community]]
        if len(free) >= min_community_size:
            used[free] = True
            used[center] = True
            communities.append([center, *free[free != center].tolist()])
    return sorted(communities, key=len, reverse=True)


def _nearest(corpus: Tensor, score_function: ScoreFunction, query_chunk: int, corpus_chunk: int) -> Nearest:
    metric = metric_of(score_function)
    if metric is None:
        return lambda queries, k: _scored_by(score_function, queries, corpus, k, query_chunk, corpus_chunk)
    prepared = Corpus(host_or_device(corpus.detach()), metric=metric)

    def nearest(queries: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        # float32, so that a host corpus meets host queries: NumPy has no bfloat16.
        given = queries.detach().to(corpus.device)
        values, ids = prepared.topk(host_or_device(given.float() if given.element_size() < 4 else given), k)
        values, ids = (x if isinstance(x, np.ndarray) else x.cpu().numpy() for x in (values, ids))
        return (values if metric.is_similarity else -values), ids

    return nearest


def _scored_by(
    score_function: ScoreFunction, queries: Tensor, corpus: Tensor, k: int, query_chunk: int, corpus_chunk: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` by a function that is not known here, a chunk at a time."""
    import torch

    best = []
    for some in queries.split(query_chunk):
        values = torch.empty((len(some), 0), device=corpus.device)
        ids = torch.empty((len(some), 0), dtype=torch.int64, device=corpus.device)
        for start in range(0, len(corpus), corpus_chunk):
            scores = score_function(some, corpus[start : start + corpus_chunk]).detach()
            found = scores.topk(min(k, scores.shape[1]), dim=1)
            values, ids = torch.cat([values, found.values], dim=1), torch.cat([ids, found.indices + start], dim=1)
            values, places = values.topk(min(k, values.shape[1]), dim=1)
            ids = ids.gather(1, places)
        best.append((values, ids))
    values, ids = (torch.cat(list(column)).cpu() for column in zip(*best, strict=True))
    return values.numpy(), ids.numpy()


def _best_pairs(scores: np.ndarray, pairs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `count` pairs, each once: by score, then by number."""
    pairs, first = np.unique(pairs, return_index=True)
    scores = scores[first]
    order = np.argsort(-scores, kind="stable")[:count]
    return scores[order], pairs[order]


def _neighbourhoods(rows: Tensor, threshold: float, least: int, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Each vector with at least `least` within the threshold, itself among them, and those, the closest first."""
    unit = normalize_embeddings(rows)
    for start in range(0, len(rows), batch_size):
        scores = cos_sim(unit[start : start + batch_size], unit)
        close = scores >= threshold
        close &= (close.sum(dim=1) >= least)[:, None]
        owners, others = (x.cpu().numpy() for x in close.nonzero(as_tuple=True))
        order = np.lexsort((-scores[close].cpu().numpy(), owners))
        ends = np.flatnonzero(np.diff(owners)) + 1
        if len(owners):
            for owner, community in zip(owners[np.append(0, ends)], np.split(others[order], ends), strict=True):
                yield start + int(owner), community
