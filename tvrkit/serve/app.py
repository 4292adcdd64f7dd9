"""The routes: each a few lines between a request and what answers it."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tvrkit import __version__
from tvrkit.errors import InstallError, StoreError, TvrkitError
from tvrkit.index.answer_json import hit_json
from tvrkit.serve import api
from tvrkit.serve.answers import Json, read_body, refuse
from tvrkit.serve.assets import page_routes
from tvrkit.serve.clips import LONGEST_SECONDS
from tvrkit.serve.images import MOST_BYTES
from tvrkit.serve.media import open_clip, send_file
from tvrkit.serve.metrics import CONTENT_TYPE, Measured
from tvrkit.serve.openapi import description
from tvrkit.serve.ranges import is_known
from tvrkit.serve.refusal import Refusal
from tvrkit.serve.security import Guard, session_cookie
from tvrkit.serve.service import Service, check_identity
from tvrkit.serve.state import known
from tvrkit.serve.thumbnails import WIDTHS

Endpoint = Callable[[Request], Awaitable[Response]]

_MOST_QUESTION_BYTES = 1 << 16
_LONGEST_VIDEO = 1e9
_MOST_MOMENTS = 10**6

log = logging.getLogger("tvrkit.serve")


def make_app(service: Service) -> Starlette:
    """The application, around a service that was entered."""
    app = Starlette(
        routes=[
            *page_routes(),
            _route("/api/search", search, "POST"),
            _route("/api/images", images, "POST"),
            _route("/api/session", session, "POST"),
            _route("/api/folders", folders),
            _route("/api/status", status),
            _route("/api/videos/{video}", video),
            _route("/api/videos/{video}/thumbnail", thumbnail),
            _route("/api/videos/{video}/file", file),
            _route("/api/videos/{video}/clip", clip),
            _route("/api/videos/{video}/explain", explain),
            _route("/healthz", health),
            _route("/metrics", metrics),
            _route("/openapi.json", openapi),
        ],
        middleware=[Middleware(Measured, metrics=service.metrics), Middleware(Guard, settings=service.settings)],
        exception_handlers={HTTPException: _no_such_thing},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


async def search(request: Request) -> Response:
    """POST /api/search."""
    started = time.perf_counter()
    api.only(request.query_params, ())
    service = _service(request)
    body = await read_body(request, _MOST_QUESTION_BYTES)
    ask = await asyncio.to_thread(api.read_question, body, service.resolve)
    answer = await service.worker.search(ask)
    return Json(
        {
            "hits": [hit_json(hit, answer.threshold) for hit in answer.hits],
            "confident": answer.confident,
            "threshold": answer.threshold,
            "videos": answer.videos,
            "moments": answer.moments,
            "exact": answer.exact,
            "notes": list(answer.notes),
            "seconds": round(time.perf_counter() - started, 6),
        }
    )


async def images(request: Request) -> Response:
    """POST /api/images."""
    api.only(request.query_params, ())
    service = _service(request)
    content = await read_body(request, MOST_BYTES)
    return Json({"id": await service.pictures.run(lambda: service.images.put(content))})


async def session(request: Request) -> Response:
    """POST /api/session: the guard has looked at the token already."""
    api.only(request.query_params, ())
    settings = _service(request).settings
    answer = Response(status_code=204)
    if settings.token is not None:
        name, value = session_cookie(settings.token, settings.port)
        # No `secure`: without TLS in front there would be no pictures; no path, so that a proxy may add one.
        answer.set_cookie(name, value, httponly=True, samesite="strict")
    return answer


async def folders(request: Request) -> Response:
    """GET /api/folders."""
    api.only(request.query_params, ())
    return Json({"folders": list(_service(request).snapshot.folders)})


async def status(request: Request) -> Response:
    """GET /api/status."""
    api.only(request.query_params, ())
    return Json({"version": __version__, **_service(request).snapshot.status})


async def video(request: Request) -> Response:
    """GET /api/videos/{video}."""
    api.only(request.query_params, ())
    service, identity = _service(request), _identity(request)
    facts = known(service.snapshot, identity)
    moments = await service.worker.call(lambda state: state.moments(identity))
    return Json(
        {
            "video": identity,
            "paths": list(facts.paths),
            "duration_seconds": facts.duration_seconds,
            "modified": facts.modified,
            "playable": await service.playable(identity),
            "moments": moments,
        }
    )


async def thumbnail(request: Request) -> Response:
    """GET /api/videos/{video}/thumbnail."""
    api.only(request.query_params, ("at", "width"))
    service, identity = _service(request), _identity(request)
    at = api.read_number(request.query_params, "at", 0, _LONGEST_VIDEO, 0)
    width = int(api.read_number(request.query_params, "width", 16, WIDTHS[-1], 320))
    facts = known(service.snapshot, identity)
    # A content never changes, so neither does its picture.
    headers = {"ETag": f'"{identity}-{at:.3f}-{width}"', "Cache-Control": "private, max-age=86400"}
    if is_known(request.headers, headers["ETag"], ""):
        return Response(status_code=304, headers=headers)
    path = await service.path(identity)
    content = await service.thumbnails.get(identity, path, at, facts.duration_seconds, width)
    return Response(content, media_type="image/jpeg", headers=headers)


async def file(request: Request) -> Response:
    """GET /api/videos/{video}/file."""
    api.only(request.query_params, ())
    identity = _identity(request)
    return send_file(request, await _service(request).open(identity), identity)


async def clip(request: Request) -> Response:
    """GET /api/videos/{video}/clip."""
    api.only(request.query_params, ("start", "end"))
    service, identity = _service(request), _identity(request)
    start = api.read_number(request.query_params, "start", 0, _LONGEST_VIDEO, None)
    end = api.read_number(request.query_params, "end", 0, _LONGEST_VIDEO, None)
    if not 0 < end - start <= LONGEST_SECONDS:
        raise Refusal(422, f"end must be after start, by at most {LONGEST_SECONDS:g} seconds.")
    path = await service.path(identity)
    made = await service.clips.get(identity, path, start, end)
    return send_file(request, await asyncio.to_thread(open_clip, made), made.stem)


async def explain(request: Request) -> Response:
    """GET /api/videos/{video}/explain."""
    api.only(request.query_params, ("query", "moment"))
    identity = _identity(request)
    words = api.read_words(request.query_params, "query")
    moment = int(api.read_number(request.query_params, "moment", 0, _MOST_MOMENTS, None))
    return Json(await _service(request).worker.call(lambda state: state.explain(identity, moment, words)))


async def health(request: Request) -> Response:
    """GET /healthz."""
    if not _service(request).worker.alive:
        raise Refusal(503, "questions are not answered any more: start the server again.")
    return Json({"status": "ok"})


async def metrics(request: Request) -> Response:
    """GET /metrics."""
    service = _service(request)
    content = service.metrics.page(len(service.snapshot.facts), service.snapshot.moments)
    return Response(content, headers={"Content-Type": CONTENT_TYPE})


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    return Json(description(token=_service(request).settings.token is not None))


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _identity(request: Request) -> str:
    identity: str = request.path_params["video"]
    check_identity(identity)
    return identity


def _route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    return Route(path, _with_sentences(endpoint), methods=[method])


def _with_sentences(endpoint: Endpoint) -> Endpoint:
    """The same, but whatever goes wrong is an answer with one sentence."""

    @functools.wraps(endpoint)
    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return refuse(refusal)
        except (StoreError, InstallError) as error:
            return refuse(Refusal(503, str(error), {"Retry-After": "5"}))
        except TvrkitError as error:
            return refuse(Refusal(422, str(error)))
        except Exception as error:
            _service(request).metrics.failed()
            log.error(f"{request.method} {endpoint.__name__} failed ({type(error).__name__}: {error})")
            if os.environ.get("TVRKIT_TRACEBACK"):
                traceback.print_exception(error)
            return refuse(Refusal(500, "something went wrong that tvrkit did not foresee; the server's log names it."))

    return guarded


async def _no_such_thing(request: Request, error: Any) -> Response:
    sentence = {404: "there is nothing at this address.", 405: "that method does nothing here."}
    return refuse(Refusal(error.status_code, sentence.get(error.status_code, str(error.detail)), error.headers))
