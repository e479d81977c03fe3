"""Where a run over files executes: this machine. What is done is kept, in a journal beside the output or in the collection."""

from vjaccel.engines.files import Report, embed_files
from vjaccel.engines.importing import Imported, beside_of, export_rows, import_rows
from vjaccel.engines.standing import RUN_SUFFIX, FileRun, Standing, settled_before, standing

__all__ = [
    "RUN_SUFFIX",
    "FileRun",
    "Imported",
    "Report",
    "Standing",
    "beside_of",
    "embed_files",
    "export_rows",
    "import_rows",
    "settled_before",
    "standing",
]
