"""Where a run over files executes: this machine. What is done is kept in a journal beside the output."""

from vjaccel.engines.files import FileRun, Report, embed_files
from vjaccel.engines.standing import RUN_SUFFIX, Standing, standing

__all__ = ["RUN_SUFFIX", "FileRun", "Report", "Standing", "embed_files", "standing"]
