"""The command line as a whole: its commands, its exit codes, and how an error is shown."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import typer

from vjaccel import __version__
from vjaccel.cli.backends import backends
from vjaccel.cli.bench import bench
from vjaccel.cli.collection import collection
from vjaccel.cli.config import config
from vjaccel.cli.doctor import doctor
from vjaccel.cli.embed import embed
from vjaccel.cli.embed_monitored import served_to_the_last
from vjaccel.cli.monitor import monitor
from vjaccel.cli.report import report
from vjaccel.cli.search import search
from vjaccel.cli.serve import serve
from vjaccel.errors import InvalidInput, UnknownBackend, UnknownProvider, VjaccelError
from vjaccel.observe import say_on_stderr

__all__ = ["run"]

FAILED, USAGE, TERMINATED = 1, 2, 143

logger = logging.getLogger("vjaccel.cli")

app = typer.Typer(
    name="vjaccel",
    help="Embed texts with local models, and search their vectors exactly, on whatever hardware is there.",
    epilog="Exit codes: 0 done, 1 failed, 2 used wrongly, 3 done but some texts failed (see OUT.errors.jsonl).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # boxes leave the options half the width, and markup eats brackets
    pretty_exceptions_enable=False,
)
app.command()(embed)
app.command()(search)
app.command()(report)
app.command()(serve)
app.command()(backends)
app.command()(doctor)
app.command()(bench)
app.add_typer(collection, name="collection")
app.add_typer(config)
app.add_typer(monitor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vjaccel {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show an error's whole traceback; may stand behind the command too.")
    ] = False,
) -> None:
    """What holds for every command; `run` takes --debug wherever it stands."""


def run() -> NoReturn:
    """Run the command of the process' arguments, and exit."""
    before, dashes, after = _split(sys.argv[1:])
    debug = "--debug" in before
    arguments = [x for x in before if x != "--debug"] + dashes + after
    signal.signal(signal.SIGTERM, _terminated)
    warnings.showwarning = _warned
    # Known before the arguments are read, since an error may be in these.
    as_json = _wants_json(arguments)
    say_on_stderr("json" if as_json else "text")
    with served_to_the_last():
        try:
            code = app(arguments, prog_name="vjaccel", standalone_mode=not as_json)
        except Exception as exc:
            if debug and not as_json:
                raise
            logger.error("%s", _sentence(exc), exc_info=exc if debug else None)
            sys.exit(_code(exc))
        sys.exit(code if isinstance(code, int) else 0)


def _wants_json(arguments: list[str]) -> bool:
    """Whether a command is asked to write its log as lines of JSON."""
    own = _split(arguments)[0]
    found = [value for name, value in pairwise(own) if name == "--log-format"]
    found += [argument.partition("=")[2] for argument in own if argument.startswith("--log-format=")]
    return "json" in found


def _code(exc: Exception) -> int:
    """The exit code of an error."""
    # What typer says of arguments knows its own.
    wrong = isinstance(exc, InvalidInput | UnknownBackend | UnknownProvider)
    return int(getattr(exc, "exit_code", USAGE if wrong else FAILED))


def _split(arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The arguments before ``--``, that itself, and those behind it, which are no options."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place : place + 1], arguments[place + 1 :]


def _sentence(exc: Exception) -> str:
    if isinstance(exc, VjaccelError):
        return str(exc)
    if (said := getattr(exc, "format_message", None)) is not None:
        return str(said())  # typer's, of arguments
    if isinstance(exc, OSError) and exc.filename is not None:
        return f"{os.fsdecode(exc.filename)}: {exc.strerror}"
    if isinstance(exc, OSError):
        return str(exc).strip().partition("\n")[0]
    if isinstance(exc, MemoryError):
        return "there is not enough memory"
    first = str(exc).strip().partition("\n")[0]
    return f"{type(exc).__name__}: {first} (--debug shows where)"


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """A warning as a sentence: where in the code it was raised tells whoever runs a command nothing."""
    logger.warning("%s", message)


def _terminated(number: int, frame: Any) -> NoReturn:
    # An exception, so that what is half written is taken away.
    sys.exit(TERMINATED)
