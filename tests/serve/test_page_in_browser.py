"""The page of `tvrkit serve` in a real browser, with real keys, real clicks and a real server."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator

import pytest
from browser import BROWSER
from devtools import Tab, running_browser
from PIL import Image
from serving_page import (
    CONTRAST,
    FRAME_NUMBER,
    HOSTILE,
    LONG,
    LONG_FPS,
    OLD,
    Site,
    card,
    fits,
    go,
    names,
    row,
    served_page,
    shown,
)
from websockets.sync.client import ClientConnection

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")]

QUERY = "?q=a+man+is+running&top=50"
PLAYER, VIDEO = "document.querySelector('#player')", "document.querySelector('video')"
PLAYS = f"{VIDEO}.currentTime > 0 && !{VIDEO}.paused && !{VIDEO}.seeking && {VIDEO}.readyState >= 2"
FOCUSED = "document.activeElement.closest('.card')?.querySelector('.name').textContent"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served_page(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[ClientConnection]:
    with running_browser() as socket:
        yield socket


@pytest.fixture
def tab(browser: ClientConnection, site: Site) -> Iterator[Tab]:
    """A window of its own, with nothing kept; in the end it must have had no reason to complain."""
    tab = Tab(browser)
    tab.size(1200, 800)
    yield tab
    assert tab.complaints == []
    assert [address for address in tab.requests if not address.startswith((site.address, "data:"))] == []
    tab.close()


def frame(tab: Tab, find: str) -> int:
    """The number that a picture or video shows."""
    return tab.run(f"{FRAME_NUMBER}(document.querySelector({json.dumps(find)}))")


def moments(tab: Tab, name: str) -> list[dict]:
    """Of a video, as the server has them for the words that are searched for."""
    body = json.dumps({"query": "a man is running", "top": 50})
    headers = "{Authorization: 'Bearer ' + sessionStorage.getItem('tvrkit-token')}"
    answer = tab.run(f"fetch('api/search', {{method: 'POST', headers: {headers}, body: {body!r}}}).then(a => a.json())")
    (hit,) = (hit for hit in answer["hits"] if hit["path"].endswith(name))
    return hit["moments"]


def test_search_and_play_from_the_moment(tab: Tab, site: Site) -> None:
    go(tab, site, ready="!document.querySelector('#start').hidden")
    assert "videos" in tab.text("#start h2")
    tab.type("a man is running")
    tab.press("Enter")
    long = card(tab, LONG)
    assert tab.run("location.search") == "?q=a+man+is+running" and "#" not in tab.run("location.href")
    assert tab.run("document.title") == "a man is running · tvrkit"
    best = moments(tab, LONG)
    assert len(best) == 3
    tab.wait(f"document.querySelector({long!r} + ' img').complete")
    assert abs(frame(tab, f"{long} img") / LONG_FPS - best[0]["best_seconds"]) <= 1 / LONG_FPS
    tab.click(f"{long} .moments li:nth-child(2) button")
    tab.wait(PLAYS)
    at = tab.run(f"{VIDEO}.currentTime")
    assert best[1]["start_seconds"] <= at < best[1]["start_seconds"] + 3
    assert abs(frame(tab, "video") / LONG_FPS - at) < 1.5
    assert f"m={best[1]['number']}" in tab.run("location.search")
    order = sorted(best, key=lambda moment: moment["start_seconds"])
    assert tab.text("#player .where").startswith(f"Moment {order.index(best[1]) + 1} of 3")
    tab.press("Escape")
    tab.wait(f"!{PLAYER}.open")
    assert tab.run("location.search") == "?q=a+man+is+running" and tab.run(FOCUSED) == LONG
    assert tab.run(f"{VIDEO}.getAttribute('src')") is None


def test_the_strip_under_a_picture_shows_any_time_and_plays_from_there(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    long = card(tab, LONG)
    tab.wait(f"document.querySelector({long!r} + ' img').complete")
    for part in (0.25, 0.8):
        tab.point(f"{long} .track", part)
        tab.wait(f"Math.abs({FRAME_NUMBER}(document.querySelector({long!r} + ' img')) - {part * 20 * LONG_FPS}) <= 2")
        assert tab.text(f"{long} .time") == f"0:{int(part * 20):02d}"
    tab.click(f"{long} .track", 0.5)
    tab.wait(PLAYS)
    assert 9.8 <= tab.run(f"{VIDEO}.currentTime") < 12
    tab.click("#player .track", 0.1)
    tab.wait(f"{VIDEO}.currentTime < 4 && {PLAYS}")


def test_what_no_browser_plays_is_played_as_a_clip(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    tab.click(f"{card(tab, OLD)} .play")
    tab.wait(PLAYS)
    assert "/clip?start=0.00&" in tab.run(f"{VIDEO}.src")
    assert frame(tab, "video") / 10 == pytest.approx(tab.run(f"{VIDEO}.currentTime"), abs=0.7)


def test_keyboard_alone(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    order = names(tab)
    tab.run("document.activeElement.blur()")
    tab.press("/")
    assert tab.run("document.activeElement.id") == "words"
    tab.press("ArrowDown")
    assert tab.run(FOCUSED) == order[0]
    for key, place in (("j", 1), ("ArrowRight", 2), ("k", 1), ("ArrowDown", 1 + row(tab)), ("ArrowUp", 1)):
        tab.press(key)
        assert tab.run(FOCUSED) == order[place], key
    tab.press("?")
    tab.wait("document.querySelector('#keys').open")
    tab.press("Escape")
    tab.wait("!document.querySelector('#keys').open")
    tab.press("Enter")
    tab.wait(f"{PLAYER}.open && {PLAYS}")
    tab.press(" ")
    tab.wait(f"{VIDEO}.paused")
    tab.press(" ")
    tab.wait(PLAYS)
    tab.press("j")
    tab.wait(f"document.querySelector('#title').textContent === {json.dumps(order[2])}")
    tab.press("e")
    tab.wait("document.querySelectorAll('table.heat tbody tr').length === 4")
    tab.press("Escape")
    tab.wait(f"!{PLAYER}.open")
    tab.press("/")
    tab.type("another search")
    tab.press("Enter")
    tab.wait("document.title.startsWith('another search')")


def test_moments_with_keys_and_the_end_of_one(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    starts = sorted(moment["start_seconds"] for moment in moments(tab, LONG))
    tab.click(f"{card(tab, LONG)} .play")
    tab.wait(PLAYS)
    for _ in range(2):
        tab.press("p")
    tab.wait(f"{PLAYS} && Math.abs({VIDEO}.currentTime - {starts[0]}) < 2")
    tab.press("n")
    tab.wait(f"{PLAYS} && Math.abs({VIDEO}.currentTime - {starts[1]}) < 2")
    assert tab.run("document.querySelectorAll('#player .bands i').length") == 3
    tab.run(f"{VIDEO}.currentTime = {starts[1] + 6.2}")
    tab.wait("document.querySelector('#player .where').textContent.endsWith('ended')")


def drop(tab: Tab, content: bytes, kind: str = "image/png", event: str = "drop") -> None:
    """Let a file fall on the page, or paste it."""
    data = base64.b64encode(content).decode()
    tab.run(
        f"""(() => {{
          const bytes = Uint8Array.from(atob("{data}"), (sign) => sign.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "a.png", {{type: "{kind}"}}));
          const what = {{bubbles: true, cancelable: true}};
          if ("{event}" === "paste")
            return document.body.dispatchEvent(new ClipboardEvent("paste", {{clipboardData: dataTransfer, ...what}}));
          for (const name of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(name, {{dataTransfer, ...what}}));
        }})()"""
    )


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_with_words(tab: Tab, site: Site, event: str) -> None:
    go(tab, site, ready="!document.querySelector('#start').hidden")
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(picture, "PNG")
    drop(tab, picture.getvalue(), event=event)
    tab.wait("document.querySelector('#chips img')?.naturalWidth === 64 && document.querySelector('.card')")
    assert tab.run("new URLSearchParams(location.search).getAll('image').length") == 1
    assert tab.text(".score").startswith("score ") and not tab.run(
        "!!document.querySelector('.card .why:not([hidden])')"
    )
    first = tab.run("document.querySelector('.score').textContent")
    tab.run("document.querySelector('#words').focus()")
    tab.type("red")
    tab.press("Enter")
    tab.wait(f"document.querySelector('.score').textContent !== {first!r} && location.search.includes('q=red')")
    tab.click("#chips button")
    tab.wait("!document.querySelector('#chips li') && location.search === '?q=red'")


def test_what_is_no_picture(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    drop(tab, b"words", "text/plain")
    tab.wait("document.querySelector('#problem').innerText.includes('is not a picture')")
    drop(tab, b"no picture at all")
    tab.wait("document.querySelector('#problem').innerText.includes('no picture that can be read')")
    assert len(tab.complaints) == 1 and "422" in tab.complaints.pop()


def test_like_this(tab: Tab, site: Site) -> None:
    everything = names(go(tab, site, QUERY))
    tab.click(f"{card(tab, LONG)} .like")
    tab.wait(f"document.querySelector('#chips bdi')?.textContent === {LONG!r}")
    tab.wait(f"document.querySelectorAll('.card').length === {len(everything) - 1}")
    assert set(everything) - set(names(tab)) == {LONG}  # it is most like itself, which nobody needs to be told
    assert tab.run("document.querySelector('#words').value") == ""


def test_filters_and_the_back_button(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    everything = names(tab)
    tab.click("#filter")
    assert tab.run("document.querySelector('#filter').getAttribute('aria-expanded')") == "true"
    tab.click("[name=min]")
    tab.type("10")
    tab.press("Enter")
    tab.wait("document.querySelectorAll('.card').length === 1")
    assert names(tab) == [LONG] and tab.text("#filtered") == "1"
    folders = tab.run("[...document.querySelectorAll('[name=in] option')].map(o => o.value)")
    assert str(site.clips / "sub") in folders
    tab.run("document.querySelector('[name=min]').value = ''")
    tab.run(
        f"""(field => {{
          field.value = {json.dumps(str(site.clips / "sub"))};
          field.dispatchEvent(new Event("change", {{bubbles: true}}));
        }})(document.querySelector("[name=in]"))"""
    )
    tab.wait("document.querySelectorAll('.card').length === 3")
    assert set(names(tab)) == {OLD, "b.mkv", "c.webm"}
    tab.run("history.back()")
    tab.wait("document.querySelectorAll('.card').length === 1")
    assert tab.run("document.querySelector('[name=min]').value") == "10"
    tab.run("history.back()")
    tab.wait(f"document.querySelectorAll('.card').length === {len(everything)}")
    assert names(tab) == everything
    go(tab, site, f"{QUERY}&min=5000", ready="document.querySelector('#summary').innerText.includes('No video fits')")
    assert names(tab) == []


def test_avoided_words_count_against(tab: Tab, site: Site) -> None:
    plain = names(go(tab, site, QUERY))
    against = names(
        go(
            tab,
            site,
            f"{QUERY}&avoid=a+man+is+running,+red",
            ready="document.querySelector('#filtered').textContent === '1' && document.querySelector('.card')",
        )
    )
    assert sorted(plain) == sorted(against) and plain != against


def test_why_a_video_was_found(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    tab.click(f"{card(tab, LONG)} .why")
    tab.wait("document.querySelector('table.heat')")
    words = tab.run("[...document.querySelectorAll('.heat tbody th')].map(e => e.innerText.trim())")
    assert words == ["a", "man", "is", "running"]
    times = tab.run("[...document.querySelectorAll('.heat thead th')].map(e => Number(e.dataset.seconds))")
    labels = tab.run("[...document.querySelectorAll('.heat tbody button')].map(e => e.getAttribute('aria-label'))")
    assert len(labels) == 4 * len(times) and times == sorted(times)
    assert labels[0].startswith("a at 0:") and sum("its best frame" in label for label in labels) == 4
    cells = "[...document.querySelectorAll('.heat td button')]"
    assert tab.run(f"new Set({cells}.map(e => getComputedStyle(e).backgroundColor)).size") > 3
    tab.wait(PLAYS)
    tab.click(".heat tbody tr:nth-child(2) td:last-child button")
    tab.wait(f"Math.abs({VIDEO}.currentTime - {times[-1]}) < 1.5")
    tab.wait("document.querySelector('.heat thead th:last-child').classList.contains('now')")
    for key in ("ArrowUp", "ArrowLeft"):
        tab.press(key)
    tab.press("Enter")
    tab.wait(f"Math.abs({VIDEO}.currentTime - {times[-2]}) < 1.5")
    images = "[...document.querySelectorAll('.heat thead img')]"
    tab.wait(f"{images}.every(i => i.naturalWidth)")
    assert tab.run(f"{images}.map({FRAME_NUMBER})") == pytest.approx([seconds * LONG_FPS for seconds in times], abs=1)


def test_an_address_opens_the_video_that_it_names(tab: Tab, site: Site) -> None:
    video = go(tab, site, QUERY).run("document.querySelector('.card').dataset.video")
    go(tab, site, f"?v={video}&m=0", ready=f"{PLAYER}.open")
    tab.wait(f"{VIDEO}.readyState >= 2")
    tab.press("Escape")
    tab.wait(f"!{PLAYER}.open && location.search === ''")
    go(tab, site, f"?v={'0' * 32}", ready="!document.querySelector('#problem').hidden")
    assert "There is no such video" in tab.text("#problem") and "404" in tab.complaints.pop()


def test_names_that_mean_harm_are_text(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    assert {shown(name) for name in HOSTILE} <= set(names(tab))
    tab.click(f"{card(tab, shown(HOSTILE[0]))} .play")
    tab.wait(f"document.querySelector('#title').textContent === {json.dumps(HOSTILE[0])} && {PLAYS}")
    tab.press("Escape")
    assert fits(tab)
    assert tab.run("document.querySelectorAll('.name *, .place bdi *, #title bdi *').length") == 0
    assert "tvrkit" in tab.run("document.title")
    assert tab.run("getComputedStyle(document.querySelector('.name')).unicodeBidi") == "isolate"


def test_on_a_phone(tab: Tab, site: Site) -> None:
    tab.size(390, 844, phone=True)
    go(tab, site, QUERY)
    assert row(tab) == 1 and fits(tab)
    small = """[...document.querySelectorAll("button, select, input:not(#picture), a:not(.skip), label.button, .track")]
      .map((e) => [e.getBoundingClientRect(), e])
      .filter(([box]) => box.width && (box.height < 43.9 || box.width < 43.9))
      .map(([box, e]) => [e.outerHTML.slice(0, 80), box.width, box.height])"""
    tab.click("#filter")
    assert fits(tab) and tab.run(small.replace(", .track", ", .card .track")) == []
    tab.click(f"{card(tab, LONG)} .why")
    tab.wait("document.querySelector('table.heat')")
    assert fits(tab) and tab.run(f"{PLAYER}.scrollWidth <= innerWidth")
    assert tab.run(small.replace("document", PLAYER).replace(", .track", "")) == []
    tab.click("#player .like")
    tab.wait("document.querySelector('#chips li') && !document.body.matches('.busy')")
    assert fits(tab) and tab.run(small.replace(", .track", ", .card .track")) == []
    tab.click("#chips button")  # a click lands on whatever is on top there
    tab.wait("!document.querySelector('#chips li')")


def test_light_and_dark_can_be_read(tab: Tab, site: Site) -> None:
    found = ["body", "h1 a", ".notice", ".count", ".name", ".place", ".score", ".length", ".chip", ".time"]
    found += ["#search .strong", "#filter", "#help", "#filters label", "[name=avoid]", "#title", ".where"]
    found += ["#player .why", "#player .like", ".legend", ".heat thead th", ".heat tbody th", ".paths"]
    papers = set()
    for scheme in ("light", "dark"):
        tab.prefer(prefers_color_scheme=scheme)
        go(tab, site, QUERY, ready="document.querySelector('.notice') && document.querySelector('.chip')")
        tab.click("#filter")
        tab.click(".card .why")
        tab.wait("document.querySelector('table.heat')")
        poor = {find: ratio for find in found if (ratio := tab.run(f"{CONTRAST}({json.dumps(find)})")) < 4.5}
        assert poor == {}, scheme
        papers.add(tab.run("getComputedStyle(document.body).backgroundColor"))
        tab.press("Escape")
    assert len(papers) == 2


def test_the_token(tab: Tab, site: Site) -> None:
    tab.open(f"{site.address}{QUERY}")
    tab.wait("!document.querySelector('#token').hidden")
    assert "wants its token" in tab.text("#problem") and names(tab) == []
    tab.click("#token input")
    tab.type("not-the-token-at-all")
    tab.press("Enter")
    tab.wait("document.querySelector('#problem').innerText.includes('not this server')")
    tab.type(site.key.removeprefix("#token="))
    tab.press("Enter")
    tab.wait("document.querySelector('.card img')?.naturalWidth && document.querySelector('#problem').hidden")
    assert all("401" in complaint for complaint in tab.complaints)
    tab.complaints.clear()
    wrong = "fetch('api/status', {headers: {Authorization: 'Bearer wrong'}}).then(a => a.status)"
    assert 429 in [tab.run(wrong) for _ in range(12)]
    tab.run("sessionStorage.setItem('tvrkit-token', 'wrong')")
    tab.open(f"{site.address}{QUERY}")
    tab.wait("document.querySelector('#problem').innerText.includes('wait a minute')")
    assert any("429" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_a_server_that_does_not_answer(tab: Tab, site: Site) -> None:
    go(tab, site, QUERY)
    without = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.send("Network.emulateNetworkConditions", offline=True, **without)
    tab.click("#search [type=submit]")
    tab.wait("document.querySelector('#problem').innerText.includes('does not answer')")
    assert names(tab) == [] and all("ERR_INTERNET_DISCONNECTED" in complaint for complaint in tab.complaints)
    tab.send("Network.emulateNetworkConditions", offline=False, **without)
    tab.click("#again")
    tab.wait("document.querySelector('.card') && document.querySelector('#problem').hidden")
    tab.complaints.clear()
