"""Training: one loop (loop.py), its optimiser, its samplers, its state on disk and its log."""
