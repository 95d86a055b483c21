"""Chromium without a window, and what its console says of a page."""

import base64
import json
import os
import shutil
import subprocess
import time

import cv2
import numpy as np
import pytest

# No window, and no requests but those of the page.
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


@pytest.fixture
def browser(tmp_path):
    """A browser without a page, of which no page may have had an error when the test is over."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    browser = Browser(program, tmp_path / "profile")
    try:
        yield browser
        browser.value("0")  # what the console has said so far
        assert browser.errors == [], browser.errors
    finally:
        browser.close()


class Browser:
    """Chromium by its own protocol through a pipe.

    Attributes:
        errors: what pages wrote to the console as errors, exceptions, and requests that failed or were refused.
        requests: addresses that pages asked for.
    """

    def __init__(self, program, profile):
        (theirs, self._out), (self._in, back) = os.pipe(), os.pipe()

        def place():
            os.dup2(theirs, 3)
            os.dup2(back, 4)

        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, preexec_fn=place, close_fds=False, **quiet)
        for end in (theirs, back):  # or the end of the browser would not be the end of the pipe
            os.close(end)
        self._number, self._session, self._data = 0, None, b""
        self.errors, self.requests = [], []

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _note(self, event, said):
        if event == "Runtime.exceptionThrown":
            self.errors.append(said["exceptionDetails"])
        elif event == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert"):
            self.errors.append(said["args"])
        elif event == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(said["entry"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])

    def _read(self):
        while b"\0" not in self._data:
            data = os.read(self._in, 2**16)
            assert data, "the browser has ended"
            self._data += data
        message, _, self._data = self._data.partition(b"\0")
        return json.loads(message)

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def open_report(self, run):
        """Opens `report.html` of a run folder, and waits for its pictures; returns how many there are."""
        self.open((run / "report.html").as_uri())
        pictures = "[...document.images]"
        loaded = f"document.readyState === 'complete' && {pictures}.every(i => i.complete)"
        self.wait_for(loaded)
        assert self.value(f"{pictures}.filter(i => !i.naturalWidth).length") == 0
        return self.value(f"{pictures}.length")

    def shown_lists(self, part=0):
        """Headings of the ranked lists that the page shows, of the part with this number."""
        lists = f"document.querySelectorAll('.lists')[{part}].querySelectorAll('article')"
        return self.value(f"[...{lists}].filter(a => !a.hidden).map(a => a.querySelector('h3').textContent)")

    def click(self, selector):
        self.value(f"document.querySelector({selector!r}).click()")

    def wait_for(self, expression):
        """The value of an expression of the page, once it is true."""
        program = f"(() => {{ try {{ return ({expression}) }} catch {{ return null }} }})()"
        for _ in range(300):
            value = self.call("Runtime.evaluate", expression=program, returnByValue=True)["result"].get("value")
            if value:
                return value
            time.sleep(0.1)
        raise TimeoutError(expression)

    def value(self, program):
        """The value of the last of a program's statements, which may be false; what it throws fails the test."""
        answer = self.call("Runtime.evaluate", expression=program, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, selector, key, code):
        """Presses a key with the focus on an element; `code` is what Windows calls the key."""
        self.value(f"document.querySelector({selector!r}).focus()")
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, selector):
        """What the page shows of an element, (H, W, 3) uint8, RGB."""
        box = self.value(
            f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
            "return { x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height } })()"
        )
        shot = self.call("Page.captureScreenshot", clip={**box, "scale": 1}, captureBeyondViewport=True)
        return cv2.imdecode(np.frombuffer(base64.b64decode(shot["data"]), "uint8"), cv2.IMREAD_COLOR_RGB)

    def choose(self, selector, files):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=list(map(str, files)))

    def close(self):
        self._process.kill()
        self._process.wait()
        for end in (self._in, self._out):
            os.close(end)
