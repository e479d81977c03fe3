"""The report of an embedding run: one HTML page, from what was recorded and a sample of the vectors (extra ``report``)."""

from vjaccel.observe.report.account import Account, Failed, described
from vjaccel.observe.report.page import check_report, write_run_report
from vjaccel.observe.report.sample import Row, Sample, beginning

__all__ = ["Account", "Failed", "Row", "Sample", "beginning", "check_report", "described", "write_run_report"]
