"""HTTP over one index, and one page; needs the extra `serve`."""
