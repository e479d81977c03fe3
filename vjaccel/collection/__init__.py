"""Vectors under ids, with metadata, that are changed and searched: in memory, or in a folder that lasts.

`judging` says which rows of a change are good, for both; `memory` and `disk` are where the rows are kept, behind `store`.
"""

from vjaccel.collection.collection import Collection
from vjaccel.collection.results import BatchResult, Evaluation, Hit, Rows, Scores, Version

__all__ = ["BatchResult", "Collection", "Evaluation", "Hit", "Rows", "Scores", "Version"]
