"""Questions and answers over HTTP, with a real model and a real index."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re

import pytest
from support import REPO

from tvrkit.cli import cli


def ask(client, **question):
    answer = client.post("/api/search", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_answer_has_what_the_contract_says(client, built):
    answer = ask(client, query="a dog surfing", top=3, moments=1)
    assert set(answer) == {"hits", "confident", "threshold", "videos", "moments", "exact", "notes", "seconds"}
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert all(hit["path"].startswith(str(built.clips)) and len(hit["moments"]) == 1 for hit in answer["hits"])
    assert answer["videos"] == len({path.read_bytes() for path in built.clips.rglob("*.*") if path.is_file()})
    assert answer["seconds"] > 0


def test_scores_are_those_of_the_command_line(client, built, identity, tmp_path, capsys):
    inside, like = str(built.clips / "sub"), str(built.clips / "d.mov")
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(client.get(f"/api/videos/{identity('c.webm')}/thumbnail").content)
    image = {"kind": "image", "value": client.post("/api/images", content=picture.read_bytes()).json()["id"]}
    video = {"kind": "video", "value": identity("d.mov"), "weight": 2}
    for options, question in (
        (["two dogs"], {"query": "two dogs"}),
        (["two dogs", "--avoid", "a cat"], {"query": "two dogs", "avoid": ["a cat"]}),
        (["--image", picture, "--in", inside, "--moments", "1"], {"parts": [image], "in": [inside], "moments": 1}),
        (["red", "--like", f"{like}^2", "--top", "3"], {"query": "red", "parts": [video], "top": 3}),
    ):
        cli.main(["query", *map(str, options), "--index", str(built.index), "--json"], standalone_mode=False)
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        hits = ask(client, **question)["hits"]
        assert len(hits) > 1
        assert hits == printed  # to the last bit


def test_questions_asked_together_are_answered_as_alone(client, service):
    questions = [
        {"query": f"{count} {thing}", "top": 4}
        for count in ("one", "two", "many")
        for thing in ("dogs", "red cars", "waves and surfers")
    ]
    alone = [ask(client, **question)["hits"] for question in questions]
    before = together(client)
    with concurrent.futures.ThreadPoolExecutor(len(questions)) as threads:
        for _ in range(5):
            crowd = list(threads.map(lambda question: ask(client, **question)["hits"], questions))
            for one, other in zip(alone, crowd, strict=True):
                assert [hit["video"] for hit in one] == [hit["video"] for hit in other]
                assert [hit["score"] for hit in one] == pytest.approx([hit["score"] for hit in other], abs=1e-6)
    asked, calls = (after - then for after, then in zip(together(client), before, strict=True))
    assert asked == 5 * len(questions)
    assert calls < asked  # some were answered in one call


def together(client):
    page = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    return float(page["tvrkit_searches_together_sum"]), float(page["tvrkit_searches_together_count"])


def test_filters_weights_and_videos_as_questions(client, built, identity):
    video = identity("d.mov")
    like = ask(client, parts=[{"kind": "video", "value": video}])
    assert video not in [hit["video"] for hit in like["hits"]]  # no answer to itself
    inside = ask(client, query="a dog", **{"in": [str(built.clips / "sub" / "deep")]})
    assert [os.path.basename(hit["path"]) for hit in inside["hits"]] == ["c.webm"]
    assert ask(client, query="a dog", min_seconds=1e6)["hits"] == []
    assert ask(client, query="a dog", before="1990-01-01")["hits"] == []
    assert ask(client, query="a dog", after="1990-01-01", top=200)["videos"] == ask(client, query="a dog")["videos"]


def test_a_picture_is_kept_to_be_searched_with(client, identity):
    video = identity("c.webm")
    picture = client.get(f"/api/videos/{video}/thumbnail?at=0.7&width=320").content
    sent = client.post("/api/images", content=picture)
    assert sent.status_code == 200
    assert client.post("/api/images", content=picture).json() == sent.json()
    found = ask(client, parts=[{"kind": "image", "value": sent.json()["id"]}])
    assert found["hits"] and found["confident"] is None  # confidence speaks of words


def test_names_of_any_bytes_go_and_come_whole(client, built, identity):
    """JSON carries what is no UTF-8 as lone surrogates; as a filter it finds its file again."""
    for path in sorted(map(str, built.clips.glob("*.mp4"))):
        answer = client.post("/api/search", content=json.dumps({"query": "a dog", "in": [path]}))
        (hit,) = answer.json()["hits"]
        assert hit["path"] == path
        assert answer.content.isascii()
        facts = client.get(f"/api/videos/{hit['video']}").json()
        assert path in facts["paths"]
        file = client.get(f"/api/videos/{hit['video']}/file")
        assert file.headers["content-disposition"].isascii()
        assert client.get(f"/api/videos/{hit['video']}/thumbnail").status_code == 200


def test_facts_folders_and_status(client, built, identity):
    facts = client.get(f"/api/videos/{identity('a.mp4')}").json()
    assert facts["paths"] == [str(built.clips / "a.mp4"), str(built.clips / "sub" / "copy of a.mp4")]
    assert facts["playable"] is True
    assert facts["moments"] == [{"number": 0, "start_seconds": 0.0, "end_seconds": facts["duration_seconds"]}]
    assert client.get(f"/api/videos/{identity('b.mkv')}").json()["playable"] is False
    folders = client.get("/api/folders").json()["folders"]
    assert folders == [str(built.clips), str(built.clips / "sub"), str(built.clips / "sub" / "deep")]
    status = client.get("/api/status").json()
    assert (
        status["videos"] == status["moments"] == len({p.read_bytes() for p in built.clips.rglob("*.*") if p.is_file()})
    )
    assert status["failures"] == status["pending"] == 0
    assert client.get("/healthz").json() == {"status": "ok"}


def test_explained(client, identity):
    asked = client.get(f"/api/videos/{identity('a.mp4')}/explain", params={"query": "a red dog", "moment": 0}).json()
    assert asked["words"] == ["a", "red", "dog"]
    assert [len(row) for row in asked["similarity"]] == [len(asked["pts_seconds"])] * 3
    assert [row.index(max(row)) for row in asked["similarity"]] == asked["best_frame"]
    missing = client.get(f"/api/videos/{identity('a.mp4')}/explain", params={"query": "a", "moment": 1})
    assert missing.status_code == 404 and "no moment 1" in missing.json()["error"]


@pytest.mark.parametrize(
    "path",
    ["/api/videos/", "/api/videos/x", "/api/videos/../../etc/passwd", "/api/videos/..%2f..%2fetc%2fpasswd/file",
     "/api/videos/" + "0" * 32, "/api/videos/" + "0" * 32 + "/file", "/api/videos/" + "A" * 32, "/page.html",
     "/page_api.js/x", "/pages", "/serve/app.py", "/static/app.py", "/api", "/API/search", "//etc/passwd",
     "/api/videos/%00/file", "/api/videos/%ff/file", "/api/videos/<script>/file"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
    assert "<script>" not in answer.text


def test_methods_that_do_nothing(client):
    for method, path in (("PUT", "/api/search"), ("GET", "/api/search"), ("DELETE", "/api/status"), ("POST", "/")):
        answer = client.request(method, path)
        assert answer.status_code == 405 and answer.headers["allow"]


def test_the_page_and_its_parts(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/page.css").headers["content-type"].startswith("text/css")
    assert client.get("/page.js").headers["content-type"].startswith("text/javascript")


def test_metrics_are_those_of_the_docs(client):
    page = client.get("/metrics").text
    named = re.findall(r"`(tvrkit_\w+)", (REPO / "docs" / "serve.md").read_text(encoding="utf-8"))
    assert len(named) >= 8
    for name in named:
        assert re.search(rf"^{name}(_count)?[ {{]", page, re.MULTILINE), name
    assert "127.0.0.1" not in page and "clips" not in page  # nothing of the index or of who asked
