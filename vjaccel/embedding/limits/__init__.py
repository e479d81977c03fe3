"""What stands between a batch and a remote service: its rates, how much at once, what a failure means, when to try again.

`Calls` is all of it together; the others decide, from numbers alone, what it does.
"""

from vjaccel.embedding.limits.backoff import backoff, retry_after
from vjaccel.embedding.limits.breaker import Breaker, breaker_of
from vjaccel.embedding.limits.calls import ONE_ATTEMPT, Answer, Calls
from vjaccel.embedding.limits.concurrency import Adaptive
from vjaccel.embedding.limits.faults import BadReply, Changed, Fault, Place, Unfit, fault_of
from vjaccel.embedding.limits.rates import Rates, RatesPerMinute, Use, Uses, rates_of
from vjaccel.embedding.limits.shared import SharedRates, shared_rates_of

__all__ = [
    "ONE_ATTEMPT",
    "Adaptive",
    "Answer",
    "BadReply",
    "Breaker",
    "Calls",
    "Changed",
    "Fault",
    "Place",
    "Rates",
    "RatesPerMinute",
    "SharedRates",
    "Unfit",
    "Use",
    "Uses",
    "backoff",
    "breaker_of",
    "fault_of",
    "rates_of",
    "retry_after",
    "shared_rates_of",
]
