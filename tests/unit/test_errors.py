"""The tree of errors: one parent, each also a builtin, each with a code that programs may rely on."""

from __future__ import annotations

import inspect

import pytest

import vjaccel as vj
from vjaccel import errors

CODES = {
    "VjaccelError": ("ERROR", Exception),
    "InvalidInput": ("INVALID_INPUT", ValueError),
    "InvalidType": ("INVALID_TYPE", TypeError),
    "UnknownBackend": ("UNKNOWN_BACKEND", ValueError),
    "BackendUnavailable": ("BACKEND_UNAVAILABLE", ImportError),
    "NotSupported": ("NOT_SUPPORTED", NotImplementedError),
    "MissingExtra": ("MISSING_EXTRA", ImportError),
    "UnknownProvider": ("UNKNOWN_PROVIDER", ValueError),
    "ModelUnavailable": ("MODEL_UNAVAILABLE", OSError),
    "TooManyErrors": ("TOO_MANY_ERRORS", RuntimeError),
    "ProviderRefused": ("PROVIDER_REFUSED", RuntimeError),
    "FileFormatError": ("FILE_FORMAT", ValueError),
    "OutputError": ("OUTPUT", OSError),
    "EmbeddingErrors": ("EMBEDDING_ERRORS", RuntimeError),
    "BatchTimeout": ("TIMEOUT", TimeoutError),
    "CollectionErrors": ("COLLECTION_ERRORS", RuntimeError),
    "ClusterError": ("CLUSTER", RuntimeError),
    "ShardUnavailable": ("SHARD_UNAVAILABLE", OSError),
    "CollectionConflict": ("COLLECTION_CONFLICT", RuntimeError),
}
"""Written down here too: a code that changes breaks programs."""

DEFINED = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}


def test_every_error_is_listed_in_order_and_none_is_forgotten_here() -> None:
    assert errors.__all__ == sorted(DEFINED) == sorted(CODES)


def test_no_two_errors_share_a_code() -> None:
    codes = [getattr(errors, name).code for name in errors.__all__]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(("name", "code", "builtin"), [(name, *rest) for name, rest in CODES.items()])
def test_an_error_is_the_builtin_that_it_resembles_and_keeps_its_code(
    name: str, code: str, builtin: type[Exception]
) -> None:
    cls = getattr(errors, name)
    assert issubclass(cls, builtin)
    assert issubclass(cls, errors.VjaccelError)
    assert cls.code == code


@pytest.mark.parametrize("name", CODES)
def test_an_error_is_in_the_tree_at_the_top_of_its_file_and_a_public_name(name: str) -> None:
    assert f" {name} " in f"{errors.__doc__} ".replace("\n", " ")
    assert getattr(vj, name) is getattr(errors, name)
    assert name in vj.__all__


def test_an_unavailable_backend_carries_its_reason_and_what_to_install() -> None:
    error = vj.BackendUnavailable("cupy is not here", reason="not installed", install="pip install cupy")
    assert (str(error), error.reason, error.install) == ("cupy is not here", "not installed", "pip install cupy")


def test_a_missing_extra_says_what_needs_it_and_the_command() -> None:
    error = vj.MissingExtra("reading parquet", "io")
    assert str(error) == "reading parquet needs the extra 'io': pip install 'vjaccel[io]'"
    assert error.install == "pip install 'vjaccel[io]'"
