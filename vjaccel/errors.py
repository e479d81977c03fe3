"""Every error this library raises on purpose.

    VjaccelError
    ├── InvalidInput        (ValueError)           a shape, a width, a metric's name, a k: what was given, what is needed
    ├── InvalidType         (TypeError)            a dtype or a kind of object that no operation takes
    ├── UnknownBackend      (ValueError)           a name that nobody registered
    ├── BackendUnavailable  (ImportError)          registered, but not installed, without a device, or broken
    ├── NotSupported        (NotImplementedError)  this backend cannot do it
    ├── MissingExtra        (ImportError)          an optional dependency is not installed
    ├── UnknownProvider     (ValueError)           a provider's name that nobody registered
    ├── ModelUnavailable    (OSError)              a model that is not on this machine and cannot be fetched, or is refused
    ├── ProviderRefused     (RuntimeError)         a remote provider's key, model or address is missing or refused
    ├── FileFormatError     (ValueError)           an input file, or a line of it, that cannot be read
    ├── OutputError         (OSError)              an output that cannot be written
    ├── TooManyErrors       (RuntimeError)         more texts failed than a run was to bear
    ├── EmbeddingErrors     (RuntimeError)         the run ended, and some texts failed; carries the whole result
    ├── BatchTimeout        (TimeoutError)         a request's time was up; carries the response as far as it had come
    ├── CollectionErrors    (RuntimeError)         some rows were refused, and so nothing was changed; carries the result
    ├── CollectionConflict  (RuntimeError)         another writer was faster, again and again
    ├── ShardUnavailable    (OSError)              a shard of a collection that cannot be read or reached
    └── ClusterError        (RuntimeError)         a cluster that does not answer, or whose nodes cannot do what is asked

Each is also the builtin it resembles, and carries a stable `code` for programs; its message is for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from vjaccel.batch.responses import BatchEmbeddingResponse, BatchVectorResponse
    from vjaccel.collection.results import BatchResult
    from vjaccel.embedding.result import EmbeddingResult, ItemError

__all__ = [
    "BackendUnavailable",
    "BatchTimeout",
    "ClusterError",
    "CollectionConflict",
    "CollectionErrors",
    "EmbeddingErrors",
    "FileFormatError",
    "InvalidInput",
    "InvalidType",
    "MissingExtra",
    "ModelUnavailable",
    "NotSupported",
    "OutputError",
    "ProviderRefused",
    "ShardUnavailable",
    "TooManyErrors",
    "UnknownBackend",
    "UnknownProvider",
    "VjaccelError",
]


class VjaccelError(Exception):
    """The parent of all of them."""

    code: ClassVar[str] = "ERROR"

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes; the children's constructors take other arguments than their message.
        return _made_again, (type(self), self.args), self.__dict__ or None


def _made_again(kind: type[VjaccelError], arguments: tuple[Any, ...]) -> VjaccelError:
    made = kind.__new__(kind, *arguments)
    made.args = arguments
    return made


class InvalidInput(VjaccelError, ValueError):
    """An argument whose value or shape no operation takes."""

    code = "INVALID_INPUT"


class InvalidType(VjaccelError, TypeError):
    """An argument of a type or dtype that no operation takes."""

    code = "INVALID_TYPE"


class UnknownBackend(VjaccelError, ValueError):
    """A backend's name that no installed distribution registers."""

    code = "UNKNOWN_BACKEND"


class BackendUnavailable(VjaccelError, ImportError):
    """A registered backend that cannot be used here.

    Attributes
    ----------
    reason : str
        What was found: not installed, no such device, an error of the driver.
    install : str or None
        The command that installs what is missing, where that would help.
    """

    code = "BACKEND_UNAVAILABLE"

    def __init__(self, message: str, *, reason: str, install: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.install = install


class NotSupported(VjaccelError, NotImplementedError):
    """An operation, metric or dtype that this backend cannot do."""

    code = "NOT_SUPPORTED"


class MissingExtra(VjaccelError, ImportError):
    """An optional dependency that is not installed.

    Attributes
    ----------
    install : str
        The command that installs it.
    """

    code = "MISSING_EXTRA"

    def __init__(self, what: str, extra: str) -> None:
        self.install = f"pip install 'vjaccel[{extra}]'"
        super().__init__(f"{what} needs the extra '{extra}': {self.install}")


class UnknownProvider(VjaccelError, ValueError):
    """An embedding provider's name that no installed distribution registers."""

    code = "UNKNOWN_PROVIDER"


class ModelUnavailable(VjaccelError, OSError):
    """A model that is neither on this machine nor to be had, or that is refused."""

    code = "MODEL_UNAVAILABLE"


class ProviderRefused(VjaccelError, RuntimeError):
    """A provider that cannot be used as asked: a remote one's key, model or address is missing or refused, or its vectors
    contradict each other."""

    code = "PROVIDER_REFUSED"


class FileFormatError(VjaccelError, ValueError):
    """An input file, or a line of it, that cannot be read as what it should be."""

    code = "FILE_FORMAT"


class OutputError(VjaccelError, OSError):
    """An output that cannot be written."""

    code = "OUTPUT"


class TooManyErrors(VjaccelError, RuntimeError):
    """More texts failed than the run's `max_errors`, and it was stopped.

    Attributes
    ----------
    failures : Counter of str
        How many failed, by the code of their error.
    max_errors : int
    errors : tuple of ItemError
        The first few of them.
    """

    code = "TOO_MANY_ERRORS"

    def __init__(self, failures: Counter[str], max_errors: int, errors: Sequence[ItemError]) -> None:
        self.failures = failures
        self.max_errors = max_errors
        self.errors = tuple(errors)
        codes = ", ".join(f"{code} {count}" for code, count in failures.most_common())
        names = ((error.index, f" {error.id!r}" if error.id else "", error.code) for error in errors)
        first = ", ".join(f"{index}{name} ({code})" for index, name, code in names)
        super().__init__(
            f"stopped: {failures.total()} texts have failed, and max_errors is {max_errors} ({codes}); the first: {first}"
        )


class EmbeddingErrors(VjaccelError, RuntimeError):
    """The run came to its end, and some texts could not be embedded.

    Attributes
    ----------
    result : EmbeddingResult
        The whole result: the vectors of the texts that succeeded, and an error for each that did not.
    """

    code = "EMBEDDING_ERRORS"

    def __init__(self, result: EmbeddingResult) -> None:
        self.result = result
        first = result.errors[0]
        super().__init__(
            f"{len(result.errors)} of {len(result.ok)} texts could not be embedded; the first, at index {first.index}: "
            f"{first.message} ({first.code}). on_error='collect' returns the others without raising."
        )


class BatchTimeout(VjaccelError, TimeoutError):
    """The time of a request was up before all its batches were done.

    Attributes
    ----------
    response : BatchEmbeddingResponse or BatchVectorResponse
        What was done; the other items have errors with the code ``TIMEOUT``.
    """

    code = "TIMEOUT"

    def __init__(self, response: BatchEmbeddingResponse | BatchVectorResponse, seconds: float) -> None:
        self.response = response
        found = response.statistics
        super().__init__(f"{found.processed} of {found.total} items were done when the request's {seconds:g} s were up")


class CollectionErrors(VjaccelError, RuntimeError):
    """Some rows of a change were refused, and with ``on_error="raise"`` nothing was changed.

    Attributes
    ----------
    result : BatchResult
        An error for each row that was refused; `ok` is empty.
    """

    code = "COLLECTION_ERRORS"

    def __init__(self, result: BatchResult, rows: int) -> None:
        self.result = result
        first = result.errors[0]
        super().__init__(
            f"{len(result.errors)} of {rows} rows are refused, and nothing was changed; the first, at index {first.index}: "
            f"{first.message} ({first.code}). on_error='collect' takes the others."
        )


class CollectionConflict(VjaccelError, RuntimeError):
    """Other writers changed a collection at the same time, so often that the change could not be made."""

    code = "COLLECTION_CONFLICT"


class ShardUnavailable(VjaccelError, OSError):
    """A shard of a collection that is down: its files cannot be read, or the process that has it does not answer.

    Attributes
    ----------
    shard : int
        Its number, from 0.
    reason : str
        What was found.
    """

    code = "SHARD_UNAVAILABLE"

    def __init__(self, shard: int, reason: str) -> None:
        super().__init__(f"shard {shard} is not available: {reason}")
        self.shard = shard
        self.reason = reason


class ClusterError(VjaccelError, RuntimeError):
    """A cluster that cannot be used: nobody answers, or its nodes have other versions, not the files, or not the devices."""

    code = "CLUSTER"
