"""Answers in their plain forms, and bodies read within bounds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tvrkit.serve.refusal import Refusal, cut_off

SLOWEST_BODY_SECONDS = 20.0


class Json(Response):
    """JSON in ASCII: file names that are no UTF-8 survive as \\udcXX."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body; raises ValueError for a number that JSON has not."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def refuse(refusal: Refusal) -> Response:
    """The answer that says no."""
    return Json({"error": refusal.sentence}, refusal.status, refusal.headers)


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The body, of which never more than `most_bytes` is held.

    Raises:
        Refusal: 413 it is larger, 408 it comes too slowly, 400 it ended too early.
    """
    too_large = cut_off(413, f"the body is larger than {most_bytes} bytes.")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > most_bytes:
        raise too_large

    async def read() -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most_bytes:
                raise too_large
        return bytes(body)

    try:
        return await asyncio.wait_for(read(), SLOWEST_BODY_SECONDS)
    except asyncio.TimeoutError:
        raise cut_off(408, f"the body did not come within {SLOWEST_BODY_SECONDS:g} s.") from None
    except ClientDisconnect:
        raise Refusal(400, "the body ended too early.") from None
