"""Bodies that are too large, too slow, or never end, against a real socket: none is held, none holds the server up."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from tvrkit.serve import answers
from tvrkit.serve.images import MOST_BYTES

HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"


def talk(address, request, then=None, seconds=120.0):
    """Send bytes, then what `then` sends, and read until the server ends the connection."""
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(request.encode("latin-1"))
        sent = then(connection) if then else 0
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass  # it ended in the middle of what we sent
    return received.decode("latin-1"), sent


def status_of(answer):
    return int(answer.split(" ")[1])


def test_a_body_that_says_it_is_huge_is_not_waited_for(running):
    request = f"POST /api/images HTTP/1.1\r\n{HEAD}Content-Length: 99999999999999999999999\r\n\r\n"
    assert status_of(talk(running, request)[0]) in (400, 413)
    answer, _ = talk(running, f"POST /api/images HTTP/1.1\r\n{HEAD}Content-Length: {1 << 40}\r\n\r\n")
    assert status_of(answer) == 413
    assert json.loads(answer.partition("\r\n\r\n")[2])["error"]


def test_a_body_without_end_is_cut_off(running):
    def flood(connection):
        sent, chunk = 0, b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            while sent < 20 * MOST_BYTES:
                connection.sendall(chunk)
                sent += 65536
        except OSError:
            pass
        return sent

    answer, sent = talk(running, f"POST /api/images HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n", flood)
    assert sent < 3 * MOST_BYTES  # what lay in buffers, and no more
    assert not answer or status_of(answer) == 413


def test_a_question_is_never_larger_than_a_question(client):
    answer = client.post("/api/search", content=b" " * 70_000 + b'{"query": "a"}')
    assert answer.status_code == 413 and answer.headers["connection"] == "close"


def test_slow_bodies_end_and_hold_nobody_up(running, client, monkeypatch):
    monkeypatch.setattr(answers, "SLOWEST_BODY_SECONDS", 2.0)
    told = []

    def crawl():
        def drip(connection):
            for sent in range(900):  # a minute and a half of it
                try:
                    connection.sendall(b" ")
                except OSError:
                    return sent
                time.sleep(0.1)
            return 900

        told.append(talk(running, f"POST /api/search HTTP/1.1\r\n{HEAD}Content-Length: 1000\r\n\r\n", drip))

    crawlers = [threading.Thread(target=crawl) for _ in range(8)]
    for crawler in crawlers:
        crawler.start()
    request = f"POST /api/search HTTP/1.1\r\n{HEAD}Connection: close\r\nContent-Length: 16\r\n\r\n" + '{"query": "dog"}'
    assert status_of(talk(running, request)[0]) == 200
    for crawler in crawlers:
        crawler.join()
    assert len(told) == 8
    for answer, sent in told:
        assert not answer or status_of(answer) == 408
        assert sent < 900  # it was cut off


def test_a_body_that_breaks_off_disturbs_nobody(running):
    with socket.create_connection(running) as connection:
        connection.sendall(f"POST /api/search HTTP/1.1\r\n{HEAD}Content-Length: 1000\r\n\r\n{{".encode())
    with socket.create_connection(running) as connection:
        connection.sendall(b"GET /api/sta")
    assert status_of(talk(running, f"GET /healthz HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n")[0]) == 200


POST = "POST /api/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 5\r\n"
NO_HTTP = {
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "empty lines": "\r\n\r\n\r\n",
    "a word": "GET\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\0\x01\0\r\n\r\n",
    "long header": "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + "x" * 200_000 + "\r\n\r\n",
    "two framings": f"{POST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": f"{POST}Content-Length: 6\r\n\r\nhello",
}


@pytest.mark.parametrize("request_line", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http(running, request_line):
    answer, _ = talk(running, request_line)
    assert not answer or 400 <= status_of(answer) < 500
