"""The edge to scikit-learn: nearest texts by TF-IDF, and clusters of texts named by their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

CHUNK = 256
"""Queries that are compared at a time: the table of similarities stays below 12 MB for 5,000 rows."""
APART = 0.85
"""Mean cosine distance beyond which texts are about different things."""
_WORD = r"(?u)\b\w+\b"
_EMPTY_WORDS = [*ENGLISH_STOP_WORDS, "did", "does", "do"]


def nearest(texts: Sequence[str], queries: Sequence[str], count: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return indices and cosine similarities, both (queries, count), of the texts nearest to each query, best first."""
    count = min(count, len(texts))
    try:
        vectors = TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD, stop_words=_EMPTY_WORDS)
        known = vectors.fit_transform(texts).T.tocsr()
    except ValueError:  # no word in any text
        return np.tile(np.arange(count), (len(queries), 1)), np.zeros((len(queries), count))
    asked = vectors.transform(queries)
    places, found = [], []
    for start in range(0, len(queries), CHUNK):
        table = (asked[start : start + CHUNK] @ known).toarray()
        best = np.argsort(-table, axis=1, kind="stable")[:, :count]
        places.append(best)
        found.append(np.take_along_axis(table, best, axis=1))
    return np.concatenate(places), np.concatenate(found)


def clusters(texts: Sequence[str], words: int = 3) -> list[tuple[str, list[int]]]:
    """Return (its commonest words, indices of its texts) of each cluster, the largest first."""
    vectors = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b[^\W\d]\w+\b", stop_words=_EMPTY_WORDS)
    try:
        table = vectors.fit_transform(texts).toarray()
    except ValueError:
        return [("", list(range(len(texts))))]
    labels = _labels(table)
    names = vectors.get_feature_names_out()
    found = []
    for label in dict.fromkeys(labels):
        members = [i for i, other in enumerate(labels) if other == label]
        weight = table[members].sum(axis=0)
        top = sorted(range(len(names)), key=lambda i: (-weight[i], names[i]))[:words]
        found.append((", ".join(str(names[i]) for i in top if weight[i] > 0), members))
    return sorted(found, key=lambda entry: (-len(entry[1]), entry[1][0]))


def _labels(table: Any) -> list[int]:
    """Return a label per text; texts without a word share one."""
    labels = [-1] * len(table)
    full = [i for i in range(len(table)) if table[i].any()]
    if len(full) < 2:
        return [0 if i in full else -1 for i in range(len(table))]
    model = AgglomerativeClustering(n_clusters=None, metric="cosine", linkage="average", distance_threshold=APART)
    for place, label in zip(full, model.fit_predict(table[full]), strict=True):
        labels[place] = int(label)
    return labels
