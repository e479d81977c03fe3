"""The command `vjaccel`: `app` puts it together and turns errors into sentences; one file a command besides."""

from vjaccel.cli.entry import main

__all__ = ["main"]
