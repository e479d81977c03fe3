"""Providers: what turns a batch of texts into vectors. `protocol` is the contract, `registry` finds them.

A provider of anyone's comes through the entry-point group ``vjaccel.providers``, as ours do.
"""
