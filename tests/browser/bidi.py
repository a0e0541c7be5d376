"""Firefox by WebDriver BiDi (w3.org/TR/webdriver-bidi): the few commands that a test of a page needs.

The browser speaks the protocol itself, so no driver is installed.
"""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import websocket

BROWSERS = ("firefox-esr", "firefox")


def firefox_path() -> str | None:
    """The system's Firefox."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Firefox:
    """A Firefox without a window, over a profile of its own; `requests` are the addresses that its page asked for."""

    def __init__(self, profile: Path):
        profile.mkdir(parents=True)
        quiet = {  # nothing that is no part of the page asks for the network
            "app.update.enabled": False, "browser.safebrowsing.downloads.remote.enabled": False,
            "network.captive-portal-service.enabled": False, "network.connectivity-service.enabled": False,
            "toolkit.telemetry.server": "", "media.autoplay.default": 0, "browser.shell.checkDefaultBrowser": False,
        }
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in quiet.items()]
        (profile / "user.js").write_text("\n".join(lines))
        self.process = subprocess.Popen(
            [firefox_path(), "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        listening = (re.search(r"BiDi listening on (\S+)", line) for line in self.process.stderr)
        address = next(filter(None, listening))[1]
        self.socket = websocket.create_connection(f"{address}/session", suppress_origin=True, timeout=120,
                                                  max_size=None)
        self.number, self.requests, self.errors = 0, [], []
        self.send("session.new", capabilities={})
        self.send("session.subscribe", events=["network.beforeRequestSent", "log.entryAdded"])
        self.context = self.send("browsingContext.getTree")["contexts"][0]["context"]

    def send(self, method: str, **params) -> dict:
        """A command's result; AssertionError with the browser's message when it fails."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "network.beforeRequestSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
                self.errors.append(message["params"]["text"])
            elif message.get("id") == self.number:
                assert message["type"] == "success", message
                return message["result"]

    def goto(self, address: str) -> None:
        """Open a page and wait until its scripts have run once."""
        self.send("browsingContext.navigate", context=self.context, url=address, wait="interactive")

    def evaluate(self, expression: str):
        """The JSON value of an expression, awaited; AssertionError with the page's error."""
        result = self.send("script.evaluate", expression=f"(async () => JSON.stringify(await ({expression})))()",
                           target={"context": self.context}, awaitPromise=True, userActivation=True)
        assert result["type"] == "success", result.get("exceptionDetails", {}).get("text")
        return json.loads(result["result"].get("value", "null"))

    def resize(self, width: int, height: int) -> None:
        """The window's inner size, in CSS pixels."""
        self.send("browsingContext.setViewport", context=self.context, viewport={"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        """What the window shows, as a PNG file."""
        data = self.send("browsingContext.captureScreenshot", context=self.context)["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """End the browser."""
        try:
            self.send("browser.close")
            self.process.wait(30)
        except (OSError, websocket.WebSocketException, subprocess.TimeoutExpired):
            self.process.kill()
        self.socket.close()
