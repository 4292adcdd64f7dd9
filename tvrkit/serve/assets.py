"""The page and its parts: files of this package, read once."""

from __future__ import annotations

from importlib.resources import files

import jinja2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tvrkit import __version__

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


def page_routes() -> list[Route]:
    """`/`, and `/page*.css` and `/page*.js`."""
    folder = files("tvrkit") / "serve"
    template = (folder / "page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template).render(version=__version__).encode()
    routes = [_route("/", page, "text/html; charset=utf-8")]
    for entry in folder.iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if entry.name.startswith("page") and kind:
            routes.append(_route(f"/{entry.name}", entry.read_bytes(), kind))
    return routes


def _route(path: str, content: bytes, kind: str) -> Route:
    async def page(request: Request) -> Response:
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    return Route(path, page, methods=["GET"])
