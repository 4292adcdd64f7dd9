"""How the published benchmarks are measured: which split, how many videos, what counts as a query."""
