"""Search in folders of videos: scan, encode what is new, score, show."""
