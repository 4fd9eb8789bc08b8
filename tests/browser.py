"""Chromium without a window, driven over a pipe by the DevTools protocol; nothing but the browser is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
KEYS = {
    "ArrowDown": 40,
    "ArrowUp": 38,
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "Enter": 13,
    "Escape": 27,
    "End": 35,
    "Home": 36,
}


class Browser:
    """One page in a browser of its own.

    Attributes
    ----------
    requests : list of str
        The addresses that were asked for.
    problems : list of str
        Errors and warnings of the console, and exceptions.
    """

    def __init__(self, folder, *, width=1280, height=900, dark=False):
        self._read, child_out = os.pipe()
        child_in, self._write = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (child_in, child_out)]

        def connect():
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        words = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"]
        words += ["--no-first-run", "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder}"]
        words += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(  # noqa: S603
            [*words, "about:blank"],
            close_fds=False,
            preexec_fn=connect,  # DevTools wants descriptors 3 and 4
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (*ends, child_in, child_out):
            os.close(end)
        self._rest, self._id, self._session = b"", 0, None
        self.requests, self.problems = [], []
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(one for one in targets if one["type"] == "page")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self.look(width, height, dark=dark)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._session = None
            self._call("Browser.close")
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def look(self, width, height, *, dark=False):
        """Set the size of the window in pixels, and the theme."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=theme)

    def open(self, file):
        """Open a file and wait until its script has run."""
        self.requests.clear()
        self._call("Page.navigate", url=file.resolve().as_uri())
        end = time.monotonic() + 30
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < end, "the page does not load"
            time.sleep(0.02)

    def run(self, expression):
        """Return the value of an expression of JavaScript."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key, times=1):
        """Press a key."""
        for _ in range(times):
            more = {"text": key} if len(key) == 1 else {"windowsVirtualKeyCode": KEYS[key]}
            if key == "Enter":
                more["text"] = "\r"  # without it a button is not pressed
            self._call("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
            self._call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector):
        """Click on the middle of an element."""
        find = f"const element = document.querySelector({json.dumps(selector)});"
        middle = "const r = element.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2];"
        x, y = self.run(f"(() => {{ {find} element.scrollIntoView({{block: 'center'}}); {middle} }})()")
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, file, *, whole=True):
        """Write a picture of the page."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found = self._call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        file.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method, **parameters):
        self._id += 1
        message = {"id": self._id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._id:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], 60)
            content = os.read(self._read, 1 << 20) if ready else b""
            assert content, "the browser does not answer"
            self._rest += content
        message, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(message)
        what, about = found.get("method"), found.get("params", {})
        if what == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif what == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(about["exceptionDetails"]))
        elif what == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.problems.append(about["entry"]["text"])
        elif what == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.problems.append(json.dumps(about["args"]))
        return found
