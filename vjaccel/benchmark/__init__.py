"""Measures what is here, and shows it: every backend, device and installed peer in one table, and in one HTML file.

`results` is what the two halves share: the run as measured. `run` measures it; `report` and `compare` draw it.
"""
