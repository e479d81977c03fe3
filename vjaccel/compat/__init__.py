"""Other libraries' names, on vjaccel's operations: for code that changes one import, and nothing else."""
