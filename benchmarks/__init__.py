"""The benchmarks: `run.py` is the command, README.md says what is measured and how."""
