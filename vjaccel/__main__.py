"""``python -m vjaccel``, where the command itself is not on the path."""

from vjaccel.cli import main

main()
