"""Where a run over files executes: this machine, or a Ray cluster. What is done is kept, in a journal or in the collection."""

from vjaccel.engines.collecting import Collected, Target
from vjaccel.engines.files import Report, embed_files
from vjaccel.engines.importing import Imported, beside_of, export_rows, import_rows
from vjaccel.engines.into_collection import embed_into, texts_to_embed
from vjaccel.engines.kept import JOURNAL_SUFFIX, KeptRun, kept_run
from vjaccel.engines.kept_vectors import KeptVectors, kept_before, kept_vectors
from vjaccel.engines.ray_into import embed_into_on_ray
from vjaccel.engines.ray_model import known_model
from vjaccel.engines.ray_pool import RayRun, pool_for
from vjaccel.engines.ray_run import embed_files_on_ray
from vjaccel.engines.ray_worker import RemoteModel, check_version
from vjaccel.engines.sources import Source, TextRow
from vjaccel.engines.standing import RUN_SUFFIX, FileRun, Standing, settled_before, standing

__all__ = [
    "JOURNAL_SUFFIX",
    "RUN_SUFFIX",
    "Collected",
    "FileRun",
    "Imported",
    "KeptRun",
    "KeptVectors",
    "RayRun",
    "RemoteModel",
    "Report",
    "Source",
    "Standing",
    "Target",
    "TextRow",
    "beside_of",
    "check_version",
    "embed_files",
    "embed_files_on_ray",
    "embed_into",
    "embed_into_on_ray",
    "export_rows",
    "import_rows",
    "kept_before",
    "kept_run",
    "kept_vectors",
    "known_model",
    "pool_for",
    "settled_before",
    "standing",
    "texts_to_embed",
]
