"""What the HTML files share: texts that cannot break out of them, and pictures that lie inside."""

from __future__ import annotations

import base64
import html
import io

import numpy as np


def escape(text: str) -> str:
    """`text` as HTML, with bytes of a file name that are no UTF-8 written out."""
    return html.escape(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def inline_jpeg(frame: np.ndarray, width: int, height: int, quality: int = 80) -> tuple[str, int, int]:
    """A `data:` address of a frame (H, W, 3) made to fit into width x height, and the size that it then has."""
    from PIL import Image

    image = Image.fromarray(frame)
    image.thumbnail((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/jpeg;base64,{data}", image.width, image.height
