"""One replica of a service, in its own process: what is not the cluster's."""

from __future__ import annotations

import gc
import sys

import pytest

pytest.importorskip("fastapi")

import vjaccel as vj
from vjaccel.serve.app import Limits
from vjaccel.serve.replicas import Replica, Replicas


def test_one_whose_model_cannot_be_loaded_has_that_error_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", others.append)
    asked = Replicas({"model": "local:/nowhere"}, ("a",), Limits(), None, 0.003, 1, 1, {}, 1.0)
    with pytest.raises(vj.VjaccelError, match="there is no folder '/nowhere'"):
        Replica(asked)
    gc.collect()
    assert others == []
