"""A headless Chromium that tests drive over a pipe: keys, themes, what it asked the network for."""

import base64
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_TOLD = ("Runtime.exceptionThrown", "Log.entryAdded")
_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Two of them: what is laid out after the first has been."""
_KEYS = {"Tab": 9, "Enter": 13}


@dataclass
class Tab:
    """One page. errors: what its console said against it; requests: addresses besides its own."""

    _to: int
    _from: int
    _session: str = ""
    _count: int = 0
    _rest: bytes = b""
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            received = self._next()
            if received.get("id") == self._count:
                assert "error" not in received, (method, received["error"])
                result: dict[str, Any] = received["result"]
                return result
            self._hear(received)

    def attach(self) -> None:
        """To a new, empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def choose(self, theme: str) -> None:
        """What the reader prefers: light or dark."""
        media = [{"name": "prefers-color-scheme", "value": theme}]
        self.call("Emulation.setEmulatedMedia", features=media)
        self.value(_FRAMES)

    def open(self, page: Path, *, width: int, height: int = 900) -> None:
        """A file at a window size in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        self.errors.clear()
        self.requests.clear()
        self.call("Page.navigate", url=page.as_uri())
        ready = "document.readyState === 'complete' && location.href !== 'about:blank'"
        until = time.monotonic() + 30
        while not self.value(ready):
            assert time.monotonic() < until, f"{page} did not load"
            time.sleep(0.05)
        self.value(_FRAMES)

    def value(self, script: str) -> Any:
        """What an expression is in the page; a promise is waited for."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as if on a keyboard."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind, more in (("keyDown", text), ("keyUp", {})):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=_KEYS[key], **more)  # fmt: skip

    def photograph(self, file: Path, *, whole: bool = False) -> None:
        """The window, or the whole length of the page."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(taken["data"]))

    def _hear(self, received: dict[str, Any]) -> None:
        method, params = received.get("method"), received.get("params", {})
        if method in _TOLD or (
            method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning")
        ):
            self.errors.append(json.dumps(params)[:2000])
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                self.requests.append(url)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            got = os.read(self._from, 1 << 20)
            assert got, "the browser is gone"
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\0")
        received: dict[str, Any] = json.loads(line)
        return received


@contextmanager
def browsing(profile: Path) -> Iterator[Tab]:
    """A browser with one page. profile: a folder of the browser's own."""
    # it reads commands from 3 and answers on 4: ours must be out of the way
    pipes = [os.pipe(), os.pipe()]
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 64) for pipe in pipes for end in pipe]
    for end in (end for pipe in pipes for end in pipe):
        os.close(end)
    read_commands, write_commands, read_answers, write_answers = high

    def lay_pipes() -> None:
        os.dup2(read_commands, 3)
        os.dup2(write_answers, 4)

    command = ["chromium", *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    browser = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=lay_pipes
    )
    try:
        os.close(read_commands)
        os.close(write_answers)
        tab = Tab(write_commands, read_answers)
        tab.attach()
        yield tab
    finally:
        browser.terminate()
        browser.wait(timeout=20)
        os.close(write_commands)
        os.close(read_answers)
