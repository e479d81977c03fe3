"""Where a run over files executes: this machine. What is done is kept in a journal beside the output."""

from vjaccel.engines.files import Report, embed_files
from vjaccel.engines.standing import RUN_SUFFIX, FileRun, Standing, settled_before, standing

__all__ = ["RUN_SUFFIX", "FileRun", "Report", "Standing", "embed_files", "settled_before", "standing"]
