"""`fetch`: every public file whole and checked, or one sentence; against a server on this machine."""

import gzip
import hashlib
import http.server
import io
import json
import threading
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conftest import assert_one_sentence

from v2a_utils.__main__ import main
from v2a_utils.stacks import fetching
from v2a_utils.stacks.fetching import PURPOSES, TABLE, Public, fetch, fetch_all, take

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 4


class Server(http.server.BaseHTTPRequestHandler):
    """As much of the hub, of Zenodo and of a server of files as a download needs."""

    files: dict[str, bytes] = {}  # path below the repository, or path on the server
    broken: set[str] = set()  # come with other bytes
    cut: set[str] = set()  # end half-way
    slow: float = 0.0  # s before each file
    picky = False  # turns the agent of the library requests away, and compresses what nobody asked for as it is
    moved: set[str] = set()  # are elsewhere
    stalled: set[str] = set()  # stop half-way for longer than anybody waits
    asked: list[str] = []

    def do_GET(self):
        if self.picky and "python-requests" in self.headers["User-Agent"]:
            return self.send_error(403)
        if (name := self.path.lstrip("/")) in self.moved:
            self.send_response(302)
            self.send_header("Location", f"{self.url}/elsewhere/{name}")
            return self.end_headers()
        self.path = self.path.replace("/elsewhere/", "/")
        if "/tree/" in self.path:
            return self._answer(json.dumps(self._tree()).encode())
        if self.path.startswith("/api/models/"):
            return self._answer(json.dumps({"id": "some/model", "sha": COMMIT}).encode())
        if self.path.startswith("/api/records/"):
            listed = [{"key": name, "size": len(content), "checksum": f"md5:{hashlib.md5(content).hexdigest()}"}
                      for name, content in self.files.items()]
            return self._answer(json.dumps({"files": listed}).encode())
        name = self.path.split(f"/resolve/{COMMIT}/")[-1].lstrip("/")
        type(self).asked += [name] if self.command == "GET" else []
        if name not in self.files:
            return self.send_error(404)
        time.sleep(self.slow if self.command == "GET" else 0)
        content = self.files[name]
        return self._answer(content[::-1] if name in self.broken else content, name)

    do_HEAD = do_GET

    def _tree(self) -> list[dict]:
        found = []
        for name, content in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
            found.append({"type": "file", "path": name, "size": len(content), "oid": blob}
                         | ({} if name.endswith(".json") else {"lfs": lfs}))
        return found

    def _answer(self, content: bytes, name: str = ""):
        self.send_response(200)
        if self.picky and name and "identity" not in self.headers["Accept-Encoding"]:
            content = gzip.compress(content)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(self.files.get(name, b"")).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if name in self.cut | self.stalled else content)
            if name in self.stalled:
                self.wfile.flush()
                time.sleep(3 * fetching.PATIENCE)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """The server, in the place of the real ones; `server.url` is its address."""
    Server.files = {"model_index.json": b'{"_class_name": "AudioLDMPipeline"}', "unet/config.json": b'{"a": 1}',
                    "unet/x.safetensors": WEIGHTS, "unet/x.bin": b"pickled twin", "vae/y.bin": b"no twin",
                    "README.md": b"not wanted"}
    Server.broken, Server.cut, Server.asked, Server.slow = set(), set(), [], 0.0
    Server.picky, Server.moved, Server.stalled = False, set(), set()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    Server.url = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(fetching, "ZENODO", Server.url)
    monkeypatch.setattr(fetching, "HfApi", partial(fetching.HfApi, endpoint=Server.url))
    monkeypatch.setattr(fetching, "PATIENCE", 20)
    yield Server
    running.shutdown()


AUDIOLDM = next(item for item in TABLE if item.name == "audioldm")
WANTED = {"model_index.json", "unet/config.json", "unet/x.safetensors", "vae/y.bin"}


def plain(server, name: str = "model.pth", **more) -> Public:
    """A single file on the server."""
    server.files = {name: WEIGHTS}
    return Public("thing", "a thing", ("sound",), "MIT", None, urls=(f"{server.url}/{name}",), **more)


# ------------------------------------------------------------------------------------------------------- what comes


def test_a_repository_comes_whole_from_one_commit_and_only_once(server, tmp_path, capsys):
    folders = {"audioldm": tmp_path / "audioldm"}
    asked = []
    assert fetch_all([AUDIOLDM], folders, lambda sentence: asked.append(sentence) or True)
    assert "GB" in asked[0] and "not for commercial use" in asked[0]
    folder = folders["audioldm"]
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == WANTED | {"SHA256SUMS"} and set(server.asked) == WANTED
    assert (folder / "unet/x.safetensors").read_bytes() == WEIGHTS
    assert COMMIT in (folder / "SHA256SUMS").read_text().splitlines()[0]
    assert fetch_all([AUDIOLDM], folders, lambda _: pytest.fail("asked about what is there"))
    assert len(server.asked) == len(WANTED)
    (folder / "unet/x.safetensors").write_bytes(b"a disk went bad")
    assert fetch_all([AUDIOLDM], folders, lambda _: True)
    assert (folder / "unet/x.safetensors").read_bytes() == WEIGHTS
    assert set(server.asked[len(WANTED):]) == {"unet/x.safetensors"}  # the others are whole


def test_nothing_is_fetched_without_consent(server, tmp_path):
    assert not fetch_all([AUDIOLDM], {"audioldm": tmp_path / "audioldm"}, lambda _: False)
    assert not server.asked and not list(tmp_path.iterdir())


def test_pictures_come_out_of_an_archive_and_nothing_else_of_it(server, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("im2wav-1/Data/ImageHear/dog1.jpg", "im2wav-1/Data/ImageHear/cat2.jpg", "im2wav-1/README.md"):
            archive.writestr(name, name)
    server.files = {"a.zip": buffer.getvalue()}
    item = Public("pictures", "pictures", ("evaluation",), "MIT", None, patterns=("*/Data/ImageHear/*.jpg",),
                  urls=(f"{server.url}/a.zip",))
    fetch(item, tmp_path / "pictures")
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"dog1.jpg", "cat2.jpg", "SHA256SUMS"}


# ------------------------------------------------------------------------------------------------------ what can fail


@pytest.mark.parametrize("name", ["unet/x.safetensors", "unet/config.json"])
def test_a_damaged_file_is_removed_and_fetched_again(server, tmp_path, name):
    server.broken = {name}
    with pytest.raises(ValueError, match="damaged"):
        fetch(AUDIOLDM, tmp_path / "audioldm")
    assert not (tmp_path / "audioldm").exists()
    server.broken, server.asked[:] = set(), []
    fetch(AUDIOLDM, tmp_path / "audioldm")
    assert name in server.asked and (tmp_path / "audioldm" / name).read_bytes() == server.files[name]


@pytest.mark.parametrize("zenodo", [None, 7])
def test_a_file_that_is_cut_off_half_way_is_not_taken_for_whole(server, tmp_path, zenodo):
    item = plain(server, zenodo=zenodo)
    server.cut = {"model.pth"}
    with pytest.raises(ValueError) as caught:
        fetch(item, tmp_path / "thing")
    assert_one_sentence(str(caught.value), Path(item.source))
    assert not (tmp_path / "thing").exists() and not list(tmp_path.rglob("model.pth"))
    server.cut = set()
    fetch(item, tmp_path / "thing")
    assert (tmp_path / "thing" / "model.pth").read_bytes() == WEIGHTS
    assert {path.name for path in (tmp_path / "thing").iterdir()} == {"model.pth", "SHA256SUMS"}


def test_zenodos_sums_are_used(server, tmp_path):
    item = plain(server, zenodo=7)
    server.broken = {"model.pth"}
    with pytest.raises(ValueError, match="(?i)md5"):
        fetch(item, tmp_path / "thing")
    assert not list(tmp_path.rglob("model.pth"))


def test_a_sum_in_the_name_is_used(server, tmp_path):
    with pytest.raises(ValueError, match="damaged"):
        fetch(plain(server, "vggish-10086976.pth"), tmp_path / "thing")
    assert not list(tmp_path.rglob("*.pth"))
    name = f"vggish-{hashlib.sha256(WEIGHTS).hexdigest()[:8]}.pth"
    fetch(plain(server, name), tmp_path / "thing")
    assert (tmp_path / "thing" / name).is_file()


def test_where_no_sum_is_published_later_downloads_are_held_against_the_first(server, tmp_path, capsys):
    item, folders = plain(server), {"thing": tmp_path / "thing"}
    fetch(item, folders["thing"])
    (folders["thing"] / "model.pth").write_bytes(b"a disk went bad")
    server.files = {"model.pth": WEIGHTS[::-1]}
    with pytest.raises(ValueError, match="not the file that was fetched the first time"):
        fetch_all([item], folders, lambda _: True)
    assert "damaged" in capsys.readouterr().out and not folders["thing"].exists()
    server.files = {"model.pth": WEIGHTS}
    assert fetch_all([item], folders, lambda _: True)
    assert (folders["thing"] / "model.pth").read_bytes() == WEIGHTS


def test_what_is_not_there_any_more_is_named(server, tmp_path):
    item = plain(server)
    server.files = {}
    with pytest.raises(ValueError, match="404") as caught:
        fetch(item, tmp_path / "thing")
    assert_one_sentence(str(caught.value), Path(item.source))


def test_no_space_is_said_before_the_first_byte_and_when_it_runs_out(server, tmp_path, monkeypatch):
    item = replace(plain(server), gigabytes=0.1)
    usage = type("usage", (), {"free": 10})
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match="GB are free") as caught:
        fetch(item, tmp_path / "thing")
    assert_one_sentence(str(caught.value), tmp_path / "thing")
    assert not server.asked
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching.pooch, "retrieve", full)
    with pytest.raises(ValueError, match="No space left") as caught:
        fetch(item, tmp_path / "thing")
    assert "\n" not in str(caught.value) and not (tmp_path / "thing").exists()


def test_without_a_network_the_ways_out_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(fetching, "HfApi", partial(fetching.HfApi, endpoint="http://127.0.0.1:9"))  # nothing listens
    item = Public("thing", "a thing", ("sound",), "MIT", None, urls=("http://127.0.0.1:9/model.pth",))
    for each in (AUDIOLDM, item):
        with pytest.raises(ValueError, match="could not be fetched.*--from"):
            fetch(replace(each, gigabytes=None), tmp_path / "thing")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE=0.*--from"):
        fetch(AUDIOLDM, tmp_path / "thing")


def test_two_runs_at_once_fetch_everything_once(server, tmp_path):
    item, server.slow = plain(server), 0.5
    errors = []

    def run():
        try:
            fetch(item, tmp_path / "thing")
        except Exception as error:
            errors.append(error)

    runs = [threading.Thread(target=run) for _ in range(2)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert not errors and server.asked == ["model.pth"]
    assert (tmp_path / "thing" / "model.pth").read_bytes() == WEIGHTS


# --------------------------------------------------------------------------------------------------- carried by hand


def test_files_that_were_carried_here_are_found_under_their_usual_names(tmp_path):
    stick = tmp_path / "stick"
    snapshot = stick / "models--cvssp--audioldm-s-full-v2" / "snapshots" / COMMIT
    for name in WANTED - {"vae/y.bin"}:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(b'{"_class_name": "AudioLDMPipeline"}')
    (stick / "audioldm-s-full-v2.ckpt").write_bytes(WEIGHTS)
    (stick / "ImageHear").mkdir()
    (stick / "ImageHear" / "dog1.jpg").write_bytes(b"a dog")
    items = {item.name: item for item in TABLE}
    taken = [name for name in items if take(items[name], stick, tmp_path / "cache" / name)]
    assert taken == ["audioldm", "clap", "imagehear"]
    assert (tmp_path / "cache" / "clap" / "audioldm-full-s-v2.ckpt").read_bytes() == WEIGHTS
    assert (tmp_path / "cache" / "audioldm" / "unet" / "x.safetensors").is_file()
    assert (tmp_path / "cache" / "imagehear" / "dog1.jpg").is_file()


def test_a_damaged_file_that_was_carried_here_is_refused(tmp_path):
    item = Public("thing", "a thing", ("sound",), "MIT", None, urls=("https://somewhere/model.pth",),
                  sums={"model.pth": f"md5:{hashlib.md5(WEIGHTS).hexdigest()}"})
    (tmp_path / "model.pth").write_bytes(b"half of it")
    with pytest.raises(ValueError, match="damaged"):
        take(item, tmp_path, tmp_path / "cache" / "thing")
    assert not (tmp_path / "cache" / "thing").exists() and (tmp_path / "model.pth").is_file()


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    for name in ("V2A_CLIP", "V2A_CLAP", "V2A_AUDIOLDM", "V2A_EXTRAS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_list_names_purpose_licence_source_and_place_of_everything(cache, capsys):
    (cache / "clip").mkdir(parents=True)
    assert main(["fetch", "--list"]) == 0
    said = capsys.readouterr().out
    for item in TABLE:
        assert item.what in said and item.licence in said and item.source in said
    assert f"  there: {cache / 'clip'}" in said and f"not there: {cache / 'audioldm'}" in said
    assert {purpose for item in TABLE for purpose in item.purposes} == set(PURPOSES)


def test_the_command_asks_a_person_and_tells_a_script_what_to_add(server, cache, capsys, monkeypatch):
    server.files |= {"open_clip_config.json": b"{}", "open_clip_model.safetensors": WEIGHTS}
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(["fetch"]) == 2
    said = capsys.readouterr()
    assert "--yes" in said.err and "GB in all" in said.out and not server.asked
    assert main(["fetch", "--yes"]) == 0
    assert (cache / "clip" / "open_clip_model.safetensors").is_file() and (cache / "audioldm" / "unet").is_dir()


def test_a_folder_without_the_files_is_named_with_what_it_lacks(cache, tmp_path, capsys):
    (tmp_path / "stick").mkdir()
    assert main(["fetch", "--from", str(tmp_path / "stick")]) == 2
    line = capsys.readouterr().err.strip()
    assert_one_sentence(line, tmp_path / "stick")
    assert "clip" in line and "audioldm" in line


def test_a_variable_that_names_nothing_is_said_before_gigabytes_go_elsewhere(cache, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("V2A_CLIP", str(tmp_path / "nowhere"))
    assert main(["fetch", "--yes"]) == 2
    assert_one_sentence(capsys.readouterr().err, tmp_path / "nowhere")


# --------------------------------------------------------------------------------------------------- servers that misbehave


def test_a_server_that_turns_libraries_away_and_compresses_gives_the_whole_file(server, tmp_path):
    server.picky = True
    fetch(plain(server), tmp_path / "thing")
    assert (tmp_path / "thing" / "model.pth").read_bytes() == WEIGHTS


def test_a_file_that_has_moved_is_followed(server, tmp_path):
    item = plain(server)
    server.moved = {"model.pth"}
    fetch(item, tmp_path / "thing")
    assert (tmp_path / "thing" / "model.pth").read_bytes() == WEIGHTS


def test_a_server_that_stalls_is_left_in_a_sentence_and_tried_again_the_next_time(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "PATIENCE", 0.2)
    item = plain(server)
    server.stalled = {"model.pth"}
    with pytest.raises(ValueError, match="could not be fetched") as caught:
        fetch(item, tmp_path / "thing")
    assert_one_sentence(str(caught.value), "thing")
    assert not (tmp_path / "thing").exists()
    server.stalled = set()
    fetch(item, tmp_path / "thing")
    assert (tmp_path / "thing" / "model.pth").read_bytes() == WEIGHTS


@pytest.mark.parametrize("dead", ["gone", "stalled", "refused"])
def test_a_source_that_is_dead_keeps_nobody_from_the_others(server, tmp_path, monkeypatch, dead):
    monkeypatch.setattr(fetching, "PATIENCE", 0.2)
    items = [Public(name, "a thing", ("sound",), "MIT", None, urls=(f"{server.url}/{name}.pth",))
             for name in ("first", "second", "third")]
    server.files = {f"{item.name}.pth": WEIGHTS for item in items}
    if dead == "gone":
        del server.files["first.pth"]
    elif dead == "stalled":
        server.stalled = {"first.pth"}
    else:
        items[0] = Public("first", "a thing", ("sound",), "MIT", None, urls=("http://127.0.0.1:9/first.pth",))
    folders, asked = {item.name: tmp_path / item.name for item in items}, []
    with pytest.raises(ValueError, match="first could not be fetched") as caught:
        fetch_all(items, folders, lambda sentence: asked.append(sentence) or True)
    assert "the other 2 are there now" in str(caught.value) and len(asked) == 1
    assert [name for name, folder in folders.items() if folder.exists()] == ["second", "third"]


def test_sums_that_were_published_elsewhere_are_held_against(server, tmp_path):
    item = plain(server, sums={"model.pth": "sha256:" + "0" * 64})
    with pytest.raises(ValueError, match="does not match"):
        fetch(item, tmp_path / "thing")
