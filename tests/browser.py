"""A page in headless Chromium: what it became, and what its console said."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_browser = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="no chromium on this machine"
)

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=9000", "--dump-dom",
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """The document after its scripts ran, and standard error with the console's lines."""

    dom: str
    log: str


def opened(page: Path, *, width: int, profile: Path) -> Opened:
    """Opens a file at a window width in pixels; profile: a folder of the browser's own."""
    # a window is never narrower than 500 pixels, unless it fills a screen that is
    size = (f"--window-size={width},1200", f"--screen-info={{{width}x1200}}", "--start-fullscreen")
    command = ["chromium", *_FLAGS, f"--user-data-dir={profile}", *size]
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return Opened(done.stdout, done.stderr)
