"""What a run costs beside its model is measured by the engine's own parts, as these are now."""

from __future__ import annotations

from benchmarks.scale.driver import measured_driver

ROWS = 1500


def test_each_part_of_a_run_has_its_rows_a_second_and_its_bytes() -> None:
    found = measured_driver(ROWS)
    assert (found["rows"], found["shard_rows"]) == (ROWS, ROWS)
    assert set(found["rows_per_second"]) == {"digest", "read", "work", "take_in", "merge"}
    assert min(*found["rows_per_second"].values(), *found["bytes"].values()) > 0
