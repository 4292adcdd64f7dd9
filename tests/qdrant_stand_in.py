"""What answers in the place of a Qdrant server, for none can be installed with pip: its REST routes that tvrkit uses.

Requests are read, and answers written, with the models that qdrant-client has of them, and carried out by its embedded
mode. So this shows that what we send has Qdrant's form and survives
the way over HTTP, and not what a server makes of it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client import models as m


@contextmanager
def stand_in(folder: Path, key: str | None = None) -> Iterator[str]:
    """A server of the collections in a folder; its URL."""
    client, lock = QdrantClient(path=str(folder), force_disable_check_same_thread=True), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def handle_any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            if key is not None and self.headers.get("api-key") != key:
                self.answer(401, {"status": {"error": "Must provide an API key"}})
                return
            parts = self.path.split("?")[0].strip("/").split("/")[1:]
            with lock:
                result = act(client, self.command, parts[0], "/".join(parts[1:]), body)
            self.answer(200, {"result": result, "status": "ok", "time": 0.0})

        do_GET = do_PUT = do_POST = handle_any  # noqa: N815

        def answer(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        client.close()


def act(client: QdrantClient, method: str, name: str, route: str, body: Any) -> Any:
    """Carry out one request."""
    done = {"operation_id": 0, "status": "completed"}
    if route == "exists":
        return {"exists": client.collection_exists(name)}
    if method == "PUT" and route == "":
        create = m.CreateCollection.model_validate(body)
        client.create_collection(name, vectors_config=create.vectors)
        return True
    if method == "PUT" and route == "index":
        m.CreateFieldIndex.model_validate(body)
        return done
    if method == "PUT" and route == "points":
        client.upsert(name, m.PointsList.model_validate(body).points)
        return done
    if route == "points/delete":
        client.delete(name, m.FilterSelector.model_validate(body))
        return done
    if route == "points/payload":
        payload = m.SetPayload.model_validate(body)
        client.set_payload(name, payload.payload, payload.filter)
        return done
    if route == "points/count":
        return {"count": client.count(name).count}
    if method == "POST" and route == "points":
        return plain(client.retrieve(name, m.PointRequest.model_validate(body).ids, with_payload=True))
    if route == "points/scroll":
        scroll = m.ScrollRequest.model_validate(body)
        points, offset = client.scroll(name, scroll.filter, scroll.limit, offset=scroll.offset, with_payload=True)
        return {"points": plain(points), "next_page_offset": offset}
    assert route == "points/query", (method, route)
    query = m.QueryRequest.model_validate(body)
    asked = query.query.nearest if isinstance(query.query, m.NearestQuery) else query.query
    found = client.query_points(
        name,
        query=asked,
        using=query.using,
        limit=query.limit,
        query_filter=query.filter,
        with_payload=query.with_payload,
    )
    return {"points": plain(found.points)}


def plain(points: list[Any]) -> list[Any]:
    """As JSON has them."""
    return [point.model_dump(mode="json") for point in points]
