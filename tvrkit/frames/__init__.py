"""From video files to frames: which timestamps (sampling), which pixels (readers), in which processes (pool)."""
