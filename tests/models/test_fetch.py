"""Models are fetched from a real server on this machine: broken off, resumed, redirected, wrong, full, unreachable."""

import bz2
import errno
import fcntl
import hashlib
import http.server
import re
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from peephole.errors import ModelDamaged, ModelDownload, ModelNotFound
from peephole.models import fetch as module
from peephole.models import store
from peephole.models.fetch import fetch

CONTENT = bytes(range(256)) * 2000
"""Half a megabyte: several blocks."""


class Server(http.server.ThreadingHTTPServer):
    """Serves one file at every address, as its attributes say."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.breaks_at: int | None = None
        self.ranges = True
        self.says_length = True
        self.lies_about_range = False
        self.redirects: dict[str, str] = {}
        self.status: int | None = None
        self.seen: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.seen.append((self.path, wanted))
        if server.status:
            self.send_error(server.status)
            return
        if target := server.redirects.get(self.path):
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = 0 if server.lies_about_range else start
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks_at is not None:
            body = body[: max(0, server.breaks_at - start)]
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder that is not there yet."""
    monkeypatch.setenv("PEEPHOLE_MODELS", str(tmp_path / "some" / "models"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "some" / "models"


@pytest.fixture
def asset(server: Server) -> store.Asset:
    """A model that no package carries."""
    return store.Asset(
        "face",
        "",
        "face.onnx",
        hashlib.sha256(CONTENT).hexdigest(),
        "MIT",
        origin=f"{server.address}/models/face.onnx",
        commercial=True,
        size=len(CONTENT),
    )


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_model_is_fetched_and_then_located(asset, server, folder):
    with pytest.raises(ModelNotFound, match="no package carries it: peephole models fetch face"):
        store.locate(asset)
    assert server.seen == []  # nothing is fetched unless it is asked for
    steps = []
    path = fetch(asset, progress=lambda *step: steps.append(step))
    assert path == folder / "face.onnx" == store.locate(asset) == store.find(asset)
    assert path.read_bytes() == CONTENT
    assert contents(folder) == ["face.onnx"]
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [have for have, _ in steps] == sorted({have for have, _ in steps})


def test_what_is_there_is_not_fetched_again(asset, server):
    fetch(asset)
    fetch(asset)
    assert len(server.seen) == 1


def test_what_is_there_but_damaged_is_fetched_again(asset, server, folder):
    path = fetch(asset)
    path.write_bytes(b"damaged")
    with pytest.raises(ModelDamaged, match="as published"):
        store.locate(asset)
    assert fetch(asset).read_bytes() == CONTENT


def test_a_packed_model_is_unpacked(asset, server):
    server.content = bz2.compress(CONTENT)
    packed = replace(asset, origin=f"{asset.origin}.bz2")
    assert fetch(packed).read_bytes() == CONTENT


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("says_length", [True, False])
def test_a_broken_download_is_gone_on_with(asset, server, folder, packed, ranges, says_length):
    if packed:
        server.content, asset = bz2.compress(CONTENT), replace(asset, origin=f"{asset.origin}.bz2")
    server.ranges, server.says_length = ranges, says_length
    server.breaks_at = len(server.content) // 3
    if packed and not says_length:  # then only the packed bytes tell that it is not whole, and that is no way to go on
        with pytest.raises(ModelDamaged, match="ends too early"):
            fetch(asset)
        assert contents(folder) == []
        return
    with pytest.raises(ModelDownload, match=rf"broke at {server.breaks_at} of {len(server.content)} bytes"):
        fetch(asset)
    assert contents(folder) == ["face.onnx.part"]
    server.breaks_at = None
    assert fetch(asset).read_bytes() == CONTENT
    assert contents(folder) == ["face.onnx"]
    assert [wanted for _, wanted in server.seen] == [None, f"bytes={len(server.content) // 3}-"]


def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_with(asset, server, folder):
    code = """
import os, signal, sys
from peephole.models import fetch, store
asset = store.Asset("face", "", "face.onnx", sys.argv[1], "MIT", origin=sys.argv[2], size=int(sys.argv[3]))
fetch.fetch(asset, progress=lambda have, total: have > total / 2 and os.kill(os.getpid(), signal.SIGKILL))
"""
    done = subprocess.run([sys.executable, "-c", code, asset.sha256, asset.origin, str(asset.size)], check=False)
    assert done.returncode == -9
    assert contents(folder) == ["face.onnx.part"]
    assert fetch(asset).read_bytes() == CONTENT
    assert server.seen[-1][1].startswith("bytes=")


@pytest.mark.parametrize("packed", [False, True])
def test_a_part_that_is_whole_already_needs_no_more(asset, server, folder, packed):
    if packed:
        server.content, asset = bz2.compress(CONTENT), replace(asset, origin=f"{asset.origin}.bz2")
    folder.mkdir(parents=True)
    (folder / "face.onnx.part").write_bytes(server.content)
    assert fetch(asset).read_bytes() == CONTENT
    assert len(server.seen) == (1 if packed else 0)  # of a packed file only the server knows how long it is


@pytest.mark.parametrize("part", [b"of another version", CONTENT + b"too long", CONTENT[:-1] + b"?"])
def test_a_part_of_something_else_is_started_over(asset, server, folder, part):
    folder.mkdir(parents=True)
    (folder / "face.onnx.part").write_bytes(part)
    assert fetch(asset).read_bytes() == CONTENT
    assert contents(folder) == ["face.onnx"]


def test_a_server_that_sends_another_part_is_asked_for_all(asset, server, folder):
    server.lies_about_range = True
    folder.mkdir(parents=True)
    (folder / "face.onnx.part").write_bytes(CONTENT[:1000])
    assert fetch(asset).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.seen] == ["bytes=1000-", None]


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"?", CONTENT + b"?", b"<html>not found</html>"], ids=["changed", "longer", "another"]
)
def test_the_wrong_file_is_refused_and_nothing_is_left(asset, server, folder, content):
    server.content = content
    server.says_length = len(content) >= len(CONTENT)
    error = ModelDamaged if len(content) >= len(CONTENT) else ModelDownload
    with pytest.raises(error, match=r"not [0-9a-f]{64} as published|has more than|broke at 22 of"):
        fetch(asset)
    assert "face.onnx" not in contents(folder)
    if error is ModelDamaged:
        assert contents(folder) == []


@pytest.mark.parametrize("content", [b"no bzip2", bz2.compress(CONTENT)[:-50], bz2.compress(CONTENT * 2)])
def test_the_wrong_packed_file_is_refused_and_nothing_is_left(asset, server, folder, content):
    server.content = content
    with pytest.raises(ModelDamaged):
        fetch(replace(asset, origin=f"{asset.origin}.bz2"))
    assert contents(folder) == []


def test_a_bomb_is_not_unpacked(asset, server, folder):
    server.content = bz2.compress(b"\0" * 50_000_000)
    with pytest.raises(ModelDamaged):
        fetch(replace(asset, origin=f"{asset.origin}.bz2"))
    assert contents(folder) == []


def test_redirects_are_followed(asset, server):
    server.redirects = {"/models/face.onnx": "/elsewhere", "/elsewhere": f"{server.address}/there"}
    assert fetch(asset).read_bytes() == CONTENT
    assert [path for path, _ in server.seen] == ["/models/face.onnx", "/elsewhere", "/there"]


def test_a_redirect_keeps_the_range(asset, server):
    server.redirects = {"/models/face.onnx": "/elsewhere"}
    server.breaks_at = 1000
    with pytest.raises(ModelDownload):
        fetch(asset)
    server.breaks_at = None
    fetch(asset)
    assert server.seen[-1] == ("/elsewhere", "bytes=1000-")


def test_redirects_in_a_circle_end(asset, server):
    server.redirects = {"/models/face.onnx": "/models/face.onnx"}
    with pytest.raises(ModelDownload, match=r"cannot be reached|answers 302"):
        fetch(asset)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/face.onnx", "file:///etc/passwd"])
def test_a_redirect_out_of_the_web_is_refused(asset, server, target, folder):
    server.redirects = {"/models/face.onnx": target}
    with pytest.raises(ModelDownload):
        fetch(asset)
    assert "face.onnx" not in contents(folder)


def test_a_redirect_to_an_open_connection_is_refused():
    import urllib.error
    import urllib.request

    request = urllib.request.Request("https://example.org/face.onnx")
    with pytest.raises(urllib.error.URLError, match=r"redirects to http://example\.org/, which is not followed"):
        module._Redirects().redirect_request(request, None, 302, "Found", {}, "http://example.org/")
    followed = module._Redirects().redirect_request(request, None, 302, "Found", {}, "https://example.org/")
    assert followed.full_url == "https://example.org/"


@pytest.mark.parametrize("origin", ["file:///etc/passwd", "ftp://example.org/x", "face.onnx"])
def test_only_the_web_is_asked(asset, origin):
    with pytest.raises(ModelDownload, match="is no web address"):
        fetch(replace(asset, origin=origin))


def test_a_refused_connection(asset):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelDownload, match=rf"face: http://127.0.0.1:{port}/x cannot be reached: .*refused"):
        fetch(replace(asset, origin=f"http://127.0.0.1:{port}/x"))


def test_an_unknown_host(asset):
    with pytest.raises(ModelDownload, match="cannot be reached"):
        fetch(replace(asset, origin="http://no-such-host.invalid/x"))


def test_a_server_that_says_nothing(asset, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ModelDownload, match="timed out"):
            fetch(replace(asset, origin=f"http://127.0.0.1:{silent.getsockname()[1]}/x"))


def test_a_server_that_talks_nonsense(asset):
    with socket.socket() as odd:
        odd.bind(("127.0.0.1", 0))
        odd.listen()

        def answer() -> None:
            connection, _ = odd.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"hello\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ModelDownload, match="cannot be reached"):
            fetch(replace(asset, origin=f"http://127.0.0.1:{odd.getsockname()[1]}/x"))
        thread.join()


@pytest.mark.parametrize("status", [403, 404, 500])
def test_what_the_server_says_is_told(asset, server, status):
    server.status = status
    with pytest.raises(ModelDownload, match=f"answers {status} "):
        fetch(asset)


def test_a_full_disk(asset, server, folder):
    code = """
import resource, signal, sys
from peephole.models import fetch, store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
asset = store.Asset("face", "", "face.onnx", sys.argv[1], "MIT", origin=sys.argv[2], size=int(sys.argv[3]))
try:
    fetch.fetch(asset)
except fetch.ModelDownload as error:
    print(error)
"""
    command = [sys.executable, "-c", code, asset.sha256, asset.origin, str(asset.size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"face: {folder} cannot be written" in done.stdout
    assert contents(folder) == ["face.onnx.part"]
    assert fetch(asset).read_bytes() == CONTENT  # and goes on once there is room


def test_no_space_is_said_in_words(asset, monkeypatch):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_download", full)
    with pytest.raises(ModelDownload, match="there is no space left"):
        fetch(asset)


def test_a_folder_that_cannot_be_made(asset, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a regular file")
    monkeypatch.setenv("PEEPHOLE_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelDownload, match="cannot be written"):
        fetch(asset)


def test_two_processes_do_not_write_one_file(asset, folder):
    folder.mkdir(parents=True)
    with (folder / "face.onnx.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ModelDownload, match="another process is fetching it"):
            fetch(asset)


def test_a_package_comes_before_what_was_fetched(asset, folder, tmp_path, monkeypatch):
    package = tmp_path / "packages" / "peephole_test_carrier"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('this package must not be imported')\n")
    (package / "face.onnx").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(package.parent)
    carried = replace(asset, package=package.name)
    fetch(carried)
    assert store.locate(carried) == package / "face.onnx"
    (package / "face.onnx").write_bytes(b"damaged")
    assert store.locate(carried) == folder / "face.onnx"
    (folder / "face.onnx").unlink()
    with pytest.raises(ModelDamaged, match="peephole_test_carrier"):
        store.locate(carried)
