"""A browser without a window, driven as its own tools drive it: real keys, real clicks, and all that it says."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import BROWSER
from websockets.sync.client import ClientConnection, connect

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    " --disable-sync --disable-extensions --hide-scrollbars --mute-audio --remote-debugging-port=0"
).split()
_KEYS = {"Enter": (13, "\r"), " ": (32, " "), "Escape": (27, ""), "Tab": (9, ""), "Backspace": (8, "")}
_KEYS |= {f"Arrow{way}": (37 + i, "") for i, way in enumerate(("Left", "Up", "Right", "Down"))}


class Tab:
    """One page. Times are in seconds; `find` is a CSS selector; what does not happen in time is an AssertionError."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._next, self._session = socket, 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something and give what comes of it; what the page says meanwhile is noted."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=120))
            if answer.get("id") == self._next and "method" not in answer:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if answer.get("sessionId") == self._session:
                self._note(answer.get("method", ""), answer.get("params", {}))

    def _note(self, event: str, said: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {[given.get('value') for given in said['args']]}")
        elif event == "Log.entryAdded" and said["entry"]["level"] in ("warning", "error"):
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif event == "Audits.issueAdded" and said["issue"]["code"] == "ContentSecurityPolicyIssue":
            self.complaints.append(json.dumps(said["issue"]["details"]))

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        done = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=False
        )
        assert "exceptionDetails" not in done, (script, done["exceptionDetails"])
        return done["result"].get("value")

    def wait(self, script: str, seconds: float = 120) -> Any:
        """Until an expression is true (an element is); its value."""
        end = time.monotonic() + seconds
        while (value := self.run(script)) in (None, False, 0, ""):
            assert time.monotonic() < end, (script, self.complaints, self.run("document.body.innerText.slice(0, 2000)"))
            time.sleep(0.03)
        return value

    def open(self, address: str) -> None:
        """Go there and wait until it has loaded."""
        self.send("Page.navigate", url=address)
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def text(self, find: str) -> str:
        """What a reader sees in an element, once there is one."""
        self.wait(f"document.querySelector({json.dumps(find)})")
        return self.run(f"document.querySelector({json.dumps(find)}).innerText")

    def press(self, key: str) -> None:
        """A key, down and up; a capital is typed with the shift key."""
        code, text = _KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key if len(key) == 1 else ""))
        said = {"key": key, "windowsVirtualKeyCode": code, "text": text} | ({"code": key} if len(key) > 1 else {})
        self.send("Input.dispatchKeyEvent", type="keyDown", **said)
        self.send("Input.dispatchKeyEvent", type="keyUp", **said | {"text": ""})

    def type(self, words: str) -> None:
        """Keys, one by one."""
        for letter in words:
            self.press(letter)

    def middle(self, find: str, part: float = 0.5) -> tuple[float, float]:
        """Where an element is: its middle, or a part of its width from the left."""
        box = self.wait(
            f"(() => {{ const e = document.querySelector({json.dumps(find)}); if (!e) return null;"
            " e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect();"
            " return b.width && [b.left, b.top, b.width, b.height]; })()"
        )
        return box[0] + box[2] * part, box[1] + box[3] / 2

    def point(self, find: str, part: float = 0.5) -> None:
        """Move the mouse there."""
        x, y = self.middle(find, part)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, find: str, part: float = 0.5) -> None:
        """Press and release the left button there."""
        x, y = self.middle(find, part)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """The window, and whether it is a phone's."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, **features: str) -> None:
        """What the reader likes: `prefers_color_scheme="dark"`."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", features=wanted)

    def close(self) -> None:
        """Away with it, and with all that it kept."""
        self._session = ""
        self.send("Target.disposeBrowserContext", browserContextId=self._context)

    def picture(self, path: Path) -> None:
        """What the window shows, as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def running_browser() -> Iterator[ClientConnection]:
    """A browser until the end of the block; hand its connection to `Tab`, one after the other."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, tempfile.TemporaryFile("w+") as words:
        command = [str(BROWSER), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=words, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            with connect(_address(process, words), max_size=None, open_timeout=120) as socket:
                yield socket
                socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
            process.wait(timeout=120)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


def _address(process: subprocess.Popen[bytes], words: Any, seconds: float = 120) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        words.seek(0)
        if found := re.search(r"DevTools listening on (ws://\S+)", words.read()):
            return found[1]
        time.sleep(0.05)
    words.seek(0)
    raise AssertionError(f"the browser did not start: {words.read()}")
