"""What the server says of itself: OpenAPI 3.1, written beside the routes and held to them by tests."""

from __future__ import annotations

from typing import Any

from tvrkit import __version__
from tvrkit.index.ask import AVOID_WEIGHT, KINDS
from tvrkit.serve import api
from tvrkit.serve.clips import LONGEST_SECONDS
from tvrkit.serve.images import MOST_BYTES
from tvrkit.serve.thumbnails import WIDTHS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_LENGTH: Schema = {"type": "number", "minimum": 0, "maximum": api.MOST_SECONDS}
_WORDS: Schema = {"type": "string", "minLength": 1, "maxLength": api.MOST_CHARACTERS, "pattern": r"\S"}
_DATE: Schema = {
    "type": "string",
    "pattern": r"^(19[7-9]\d|20\d\d)-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])$",
    "description": "A day; a year, a month, a time (2024-05-31T18:00) and an age (7d) are understood as well.",
}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _object(properties: dict[str, Schema], required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else list(required),
        "additionalProperties": False,
        **more,
    }


def _maybe(kind: str) -> Schema:
    return {"type": [kind, "null"]}


_PART = _object(
    {
        "kind": {"enum": list(KINDS)},
        "value": {**_WORDS, "description": "The words; or the id of POST /api/images; or a video's identity."},
        "weight": {"type": "number", "minimum": -1000, "maximum": 1000, "not": {"const": 0}, "default": 1},
    },
    ("kind", "value"),
)
_QUESTION = _object(
    {
        "query": {**_WORDS, "description": "Words; a part of weight 1."},
        "parts": _list(_PART, maxItems=api.MOST_PARTS),
        "avoid": _list(_WORDS, maxItems=api.MOST_PARTS, description=f"Words; parts of weight -{AVOID_WEIGHT:g}."),
        "in": _list(
            {"type": "string", "pattern": r"^/[^\x00]*$", "maxLength": 2 * api.MOST_CHARACTERS},
            maxItems=api.MOST_PLACES,
            description="Folders, files or addresses, absolute; a video lies in one of them.",
        ),
        "min_seconds": _LENGTH,
        "max_seconds": _LENGTH,
        "after": _DATE,
        "before": _DATE,
        "top": {"type": "integer", "minimum": 1, "maximum": api.MOST_VIDEOS, "default": 10},
        "moments": {"type": "integer", "minimum": 1, "maximum": api.MOST_MOMENTS, "default": 3},
    },
    (),
    description="At least `query`, or a part whose weight is above 0.",
)
_SPAN = {"number": _COUNT, "start_seconds": _NUMBER, "end_seconds": _NUMBER}
_FOUND = _object({**_SPAN, "best_seconds": _NUMBER, "score": _NUMBER, "confidence": _maybe("number")})
_HIT = _object(
    {
        "rank": {"type": "integer", "minimum": 1},
        "score": _NUMBER,
        "confidence": _maybe("number"),
        "confident": _maybe("boolean"),
        "video": _TEXT,
        "path": _TEXT,
        "other_paths": _list(_TEXT),
        "duration_seconds": _NUMBER,
        "best_seconds": _NUMBER,
        "moments": _list(_FOUND, minItems=1),
    }
)
_SCHEMAS: dict[str, Schema] = {
    "Error": _object({"error": _TEXT}),
    "Question": _QUESTION,
    "Hit": _HIT,
    "Answer": _object(
        {
            "hits": _list({"$ref": "#/components/schemas/Hit"}),
            "confident": _maybe("boolean"),
            "threshold": _maybe("number"),
            "videos": _COUNT,
            "moments": _COUNT,
            "exact": _FLAG,
            "notes": _list(_TEXT),
            "seconds": _NUMBER,
        }
    ),
    "Picture": _object({"id": _TEXT}),
    "Video": _object(
        {
            "video": _TEXT,
            "paths": _list(_TEXT, minItems=1),
            "duration_seconds": _NUMBER,
            "modified": _NUMBER,
            "playable": {**_FLAG, "description": "Whether browsers play the file; else ask for clips."},
            "moments": _list(_object(_SPAN)),
        }
    ),
    "Explanation": _object(
        {
            "words": _list(_TEXT),
            "weights": _list(_NUMBER),
            "pts_seconds": _list(_NUMBER),
            "similarity": _list(_list(_NUMBER)),
            "best_frame": _list(_COUNT),
        }
    ),
    "Folders": _object({"folders": _list(_TEXT)}),
    "Status": _object(
        {
            "version": _TEXT,
            "model": _TEXT,
            "fingerprint": _TEXT,
            "device": _TEXT,
            "videos": _COUNT,
            "moments": _COUNT,
            "exact": _FLAG,
            "pending": _COUNT,
            "failures": _COUNT,
        }
    ),
    "Health": _object({"status": {"const": "ok"}}),
}

_WHAT_REFUSALS_SAY = {
    400: "The Host header is not this server's, or the body ended early",
    401: "No token, or a wrong one",
    403: "Another site's page asks",
    404: "No such video in the index",
    408: "The body came too slowly",
    410: "The file has gone or changed since it was indexed",
    413: "Too large",
    416: "No such range in the file",
    422: "What was asked cannot be understood or done",
    429: "Too many wrong tokens",
    503: "Too much to do, or the index cannot be read",
}
_ALWAYS = (400, 401, 403, 429, 503)

_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def _ref(name: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _binary(*kinds: str) -> Schema:
    return {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in kinds}


def _answer(content: Schema | None, what: str = "The answer") -> Schema:
    return {"description": what, **({"content": content} if content else {})}


def _operation(
    name: str, summary: str, answers: dict[int, Schema], refusals: tuple[int, ...] = (), **more: Any
) -> Schema:
    said = {str(status): answer for status, answer in answers.items()}
    for status in sorted({*_ALWAYS, *refusals}):
        said[str(status)] = {"description": _WHAT_REFUSALS_SAY[status], "content": _ERROR}
    return {"operationId": name, "summary": summary, "responses": said, **more}


def _parameter(name: str, schema: Schema, *, required: bool = True, where: str = "query") -> Schema:
    return {"name": name, "in": where, "required": required, "schema": schema}


_VIDEO = _parameter("video", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, where="path")
_RANGE = _parameter("Range", {"type": "string", "pattern": r"^bytes=\d{1,6}-\d{0,6}$"}, required=False, where="header")
_OPEN: Schema = {"security": []}
_ANY = {"default": _answer(_binary("*/*"))}


def _of_video() -> dict[str, Schema]:
    at = _parameter("at", {**_LENGTH, "default": 0}, required=False)
    width = _parameter(
        "width", {"type": "integer", "minimum": 16, "maximum": WIDTHS[-1], "default": 320}, required=False
    )
    start, end = _parameter("start", _LENGTH), _parameter("end", _LENGTH)
    parts = {206: _answer(_binary("*/*"), "The range"), 304: _answer(None, "The client has it")}
    return {
        "": _operation(
            "video", "What is known of a video", {200: _answer(_ref("Video"))}, (404, 422), parameters=[_VIDEO]
        ),
        "/thumbnail": _operation(
            "thumbnail",
            "A frame as JPEG",
            {200: _answer(_binary("image/jpeg")), 304: _answer(None, "The client has it")},
            (404, 410, 422),
            parameters=[_VIDEO, at, width],
        ),
        "/file": _operation(
            "file",
            "The video file",
            {200: _answer(_binary("*/*"), "The file"), **parts},
            (404, 410, 416, 422),
            parameters=[_VIDEO, _RANGE],
        ),
        "/clip": _operation(
            "clip",
            f"At most {LONGEST_SECONDS:g} seconds of a video as mp4, for what browsers do not play",
            {200: _answer(_binary("video/mp4"), "The clip"), **parts},
            (404, 410, 416, 422),
            parameters=[_VIDEO, start, end, _RANGE],
        ),
        "/explain": _operation(
            "explain",
            "Each word of a question against each frame of a moment",
            {200: _answer(_ref("Explanation"))},
            (404, 422),
            parameters=[_VIDEO, _parameter("query", _WORDS), _parameter("moment", {**_COUNT, "maximum": 10**6})],
        ),
    }


def description(*, token: bool) -> Schema:
    """The OpenAPI description.

    Args:
        token: whether this server wants one.
    """
    question = {"required": True, "content": _ref("Question")}
    picture = {"required": True, "content": _binary("image/*"), "description": f"At most {MOST_BYTES} bytes."}
    paths = {
        "/api/search": {
            "post": _operation(
                "search", "Find videos", {200: _answer(_ref("Answer"))}, (408, 413, 422), requestBody=question
            )
        },
        "/api/images": {
            "post": _operation(
                "images",
                "Send a picture to search with",
                {200: _answer(_ref("Picture"))},
                (408, 413, 422),
                requestBody=picture,
            )  # fmt: skip
        },
        "/api/session": {
            "post": _operation("session", "Set the cookie that stands for the token", {204: _answer(None)}, (422,))
        },
        "/api/folders": {"get": _operation("folders", "Where videos lie", {200: _answer(_ref("Folders"))}, (422,))},
        "/api/status": {"get": _operation("status", "Model and index", {200: _answer(_ref("Status"))}, (422,))},
        "/metrics": {"get": _operation("metrics", "For Prometheus", {200: _answer(_binary("text/plain"))}, (422,))},
        "/healthz": {
            "get": _operation(
                "health", "Whether questions are answered", {200: _answer(_ref("Health"))}, (422,), **_OPEN
            )
        },
        **{f"/api/videos/{{video}}{tail}": {"get": operation} for tail, operation in _of_video().items()},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "tvrkit", "version": __version__, "summary": "Find videos by words."},
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}] if token else [],
    }
