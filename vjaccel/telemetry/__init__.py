"""What is measured as things happen: `Recording` keeps what one run was like, `events` tells whoever listens.

It is written to by all that works, and read by `vjaccel.observe`. A recording is bounded, however long its run; nobody listens
until asked to.
"""

from vjaccel.telemetry.attempts import Attempts, sent_again, waited
from vjaccel.telemetry.batches import OfBudget, Try
from vjaccel.telemetry.devices import OfDevice
from vjaccel.telemetry.events import (
    NOTHING,
    BatchEnded,
    BatchesEnded,
    CacheLookedUp,
    Called,
    CircuitChanged,
    ConcurrencyChanged,
    DeviceTakenOut,
    Event,
    Happened,
    RequestEnded,
    RunBegan,
    RunEnded,
    TextsSettled,
    TriedAgain,
    heard,
    listening,
    operation,
    tell,
)
from vjaccel.telemetry.failures import Example, Failures
from vjaccel.telemetry.latencies import Latencies
from vjaccel.telemetry.recorded import RUN, Call, Stages
from vjaccel.telemetry.recording import Recording, running
from vjaccel.telemetry.timeline import SUMMED, Timeline

__all__ = [
    "NOTHING",
    "RUN",
    "SUMMED",
    "Attempts",
    "BatchEnded",
    "BatchesEnded",
    "CacheLookedUp",
    "Call",
    "Called",
    "CircuitChanged",
    "ConcurrencyChanged",
    "DeviceTakenOut",
    "Event",
    "Example",
    "Failures",
    "Happened",
    "Latencies",
    "OfBudget",
    "OfDevice",
    "Recording",
    "RequestEnded",
    "RunBegan",
    "RunEnded",
    "Stages",
    "TextsSettled",
    "Timeline",
    "TriedAgain",
    "Try",
    "heard",
    "listening",
    "operation",
    "running",
    "sent_again",
    "tell",
    "waited",
]
