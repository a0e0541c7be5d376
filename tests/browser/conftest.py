"""A real browser before a real JupyterLab: `make test-browser`. Skipped where there is no Chromium or no Playwright.

The notebooks are copies in a temporary folder, cut down to the cells that a panel needs. Every screenshot lies in
out/browser afterwards, to be looked at.
"""

import functools
import http.server
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from conftest import offline_environment

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SETTINGS = {  # nothing asks for the network, and every output is in the page, also those that are scrolled away
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make test-browser brings it")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with api.sync_playwright() as playwright:
        # a sandbox needs rights that a container's root does not have
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] * (os.geteuid() == 0))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """JupyterLab on a free port, over an empty folder: its address with its token, and the folder."""
    home = tmp_path_factory.mktemp("jupyter")
    for name, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    (home / "notebooks").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    environment = offline_environment() | {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"), "IPYTHONDIR": str(home / "ipython"), "JUPYTER_TOKEN": token,
        "V2A_STACK": "mini"}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", "--allow-root", "--notebook-dir", str(home / "notebooks")]
    with open(home / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api/status?token={token}", process, home / "log")
        yield address, token, home / "notebooks"
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(address, process, log, patience: float = 180):
    """Until the server answers; its log where it does not."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        try:
            return direct.open(address, timeout=10).close()
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def page(browser):
    """A page of its own, on a screen as wide as a desk's."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


@pytest.fixture(scope="module")
def lab(page, server):
    """Opens notebooks in JupyterLab; afterwards their kernels end."""
    from browser.lab import Lab

    opened = Lab(page, *server)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def address():
    """The address of the page that hears pictures on a local server."""
    from browser.live import FOLDER

    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=FOLDER))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
