"""Headless Chromium for pages: found on the machine, or the test says what to install."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
QUIET += ["--host-resolver-rules=MAP * ~NOTFOUND"]  # it looks up hosts of its maker all the same


@contextmanager
def opened(path: Path, *, width: int = 1200, dark: bool = False, folder: bool = False) -> Iterator:
    """Open a file in a page; it fails on errors of the page, and on requests for anything but the file (its folder)."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        reason = "no Chromium here: apt-get install chromium, or put one on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--no-first-run", *QUIET]
        )
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
        )
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        address = path.resolve().as_uri()
        allowed = (path.resolve().parent.as_uri() + "/" if folder else address, "data:")
        page.on("request", lambda request: None if request.url.startswith(allowed) else faults.append(request.url))
        page.goto(address)
        page.wait_for_load_state("load")
        yield page
        browser.close()
    assert not faults
