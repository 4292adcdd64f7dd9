"""Who is let in, and what every answer tells the browser."""

from __future__ import annotations

import asyncio

import pytest
from serving import answering

from tvrkit.errors import ConfigError
from tvrkit.serve.security import CONTENT_POLICY, MOST_RUNNING, Guard
from tvrkit.serve.settings import Settings, is_loopback, make_token

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def locked(service, monkeypatch):
    """The same server, behind a token."""
    monkeypatch.setattr(service, "settings", Settings(token=TOKEN, names=frozenset({"search.example.org"})))
    with answering(service) as client:
        yield client


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_nothing_of_the_index_without_the_token(locked, identity):
    video = identity("a.mp4")
    closed = ["/api/status", "/api/folders", "/metrics", f"/api/videos/{video}", f"/api/videos/{video}/file",
              f"/api/videos/{video}/thumbnail", f"/api/videos/{video}/clip?start=0&end=1", "/api/nothing"]  # fmt: skip
    for path in closed:
        answer = locked.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "token" in answer.json()["error"] and TOKEN not in answer.text
    for path in ("/api/search", "/api/images", "/api/session"):
        assert locked.post(path, content=b"x" * 100).status_code == 401
    for path in ("/", "/page.js", "/page.css", "/healthz", "/openapi.json"):
        assert locked.get(path).status_code == 200
    assert locked.get("/api/status", headers=bearer(TOKEN)).status_code == 200
    assert locked.get("/api/status", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    ["Bearer", "Bearer x", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN,
     "Bearer \xff\xfe", f"Bearer  {TOKEN} {TOKEN}", "Bearer " + "x" * 5000],
)  # fmt: skip
def test_wrong_tokens(locked, wrong):
    assert locked.get("/api/status", headers={"Authorization": wrong.encode("latin-1")}).status_code == 401


def test_guessing_is_slowed_down_and_the_right_one_is_not(locked):
    told = [locked.get("/api/status", headers=bearer("guess")).status_code for _ in range(12)]
    assert told == [401] * 10 + [429] * 2
    assert locked.get("/api/status", headers=bearer("guess")).headers["retry-after"] == "60"
    assert locked.get("/api/status", headers=bearer(TOKEN)).status_code == 200


def test_the_cookie_stands_for_the_token(locked, identity):
    answer = locked.post("/api/session", headers=bearer(TOKEN))
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert locked.get(f"/api/videos/{identity('a.mp4')}/thumbnail").status_code == 200
    assert locked.get("/api/status", headers=bearer("other")).status_code == 401  # what is shown is what counts
    locked.cookies.clear()
    for wrong in ("tvrkit-8600=0", "tvrkit-8600=" + "0" * 64, 'tvrkit-8600="\\377', "=;=;", f"tvrkit-8600={TOKEN}"):
        assert locked.get("/api/status", headers={"Cookie": wrong}).status_code == 401


def test_no_session_where_no_token_is_wanted(client):
    answer = client.post("/api/session")
    assert answer.status_code == 204 and "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8600", "localhost:8600", "LOCALHOST", "localhost.", "[::1]:8600", "192.168.1.7:8600"]
)
def test_hosts_that_are_ours(client, host):
    assert client.get("/api/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8600", "", "[evil]",
     "127.0.0.1@evil.example",
     "evil.example:127.0.0.1", "\xff", "x" * 3000],
)  # fmt: skip
def test_names_that_were_made_to_lead_here(client, host):
    """DNS rebinding: a stranger's page asks its own name, which has become our address."""
    answer = client.get("/api/status", headers={"Host": host.encode("latin-1")})
    assert answer.status_code == 400
    assert len(answer.text) < 500


def test_names_that_are_allowed(locked):
    for host, status in (("search.example.org", 200), ("Search.Example.org:443", 200), ("example.org", 400)):
        assert locked.get("/api/status", headers={"Host": host, **bearer(TOKEN)}).status_code == status


def test_pages_of_other_sites(client):
    question = {"query": "a dog"}

    def status(**headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post("/api/search", json=question, headers=named).status_code

    assert status(Origin=str(client.base_url).rstrip("/")) == 200
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:9999",
        f"{client.base_url}.evil.example",
        "",
        "file://",
    ):
        assert status(Origin=origin) == 403, origin
    assert status(Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors") == 200
    assert status(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors") == 403
    assert client.get("/api/status", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert (
        client.get("/api/status", headers={"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}).status_code == 200
    )


def test_every_answer_tells_the_browser_to_be_careful(client, identity):
    video = f"/api/videos/{identity('a.mp4')}"
    for path in (
        "/",
        "/page.js",
        "/api/status",
        "/nothing",
        f"{video}/file",
        f"{video}/thumbnail",
        "/api/search",
        "/metrics",
    ):
        for headers in ({}, {"Host": "evil.example"}):
            answer = client.get(path, headers=headers)
            assert answer.headers["content-security-policy"] == CONTENT_POLICY
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["cache-control"]
    assert "unsafe" not in CONTENT_POLICY and "frame-ancestors 'none'" in CONTENT_POLICY


def test_only_so_many_at_once():
    """One more than are answered at once is told to come back."""

    async def ask():
        held, statuses = asyncio.Event(), []

        async def slow(scope, receive, send):
            await held.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message):
            if message["type"] == "http.response.start":
                statuses.append((message["status"], dict(message["headers"]).get(b"retry-after")))

        guard = Guard(slow, Settings())
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": [(b"host", b"localhost")],
            "client": ("::1", 1),
        }
        running = [asyncio.create_task(guard(scope, None, send)) for _ in range(MOST_RUNNING + 1)]
        await running[-1]
        assert statuses == [(503, b"1")]
        held.set()
        await asyncio.gather(*running)
        await guard(scope, None, send)
        assert [status for status, _ in statuses[1:]] == [200] * (MOST_RUNNING + 1)

        # Who has begun to get an answer and reads no further, as a paused video does, shuts nobody out.
        held.clear()
        statuses.clear()

        async def paused(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await held.wait()

        guard = Guard(paused, Settings())
        running = [asyncio.create_task(guard(scope, None, send)) for _ in range(MOST_RUNNING + 1)]
        await asyncio.sleep(0)
        assert [status for status, _ in statuses] == [200] * (MOST_RUNNING + 1)
        held.set()
        await asyncio.gather(*running)

    asyncio.run(ask())


def test_hosts_that_others_reach_need_a_token():
    for host in ("0.0.0.0", "::", "192.168.1.7", "search.example.org", ""):
        with pytest.raises(ConfigError, match="--token"):
            Settings(host=host)
        assert Settings(host=host, token=TOKEN).token == TOKEN
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert is_loopback(host)
        Settings(host=host)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "with space in the middle", "ünïcödé-ünïcödé-ünïcödé", "a\nb" * 10]
)
def test_tokens_that_are_none(token):
    with pytest.raises(ConfigError, match="--token auto"):
        Settings(token=token)
    assert Settings(token=make_token()).token != Settings(token=make_token()).token
