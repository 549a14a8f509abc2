"""One file from one of several servers: what is kept, what is asked again, what is said."""

import hashlib

import pytest
from file_server import serving
from requests import exceptions

from semiseg.common.errors import DataError
from semiseg.prepare.fetch import Patience, fetch

CONTENT = b"weights" * 40_000  # more than a block
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving({"/a.pth": CONTENT, "/second/a.pth": CONTENT}) as server:
        yield server


@pytest.fixture
def said():
    return []


def get(server, target, said, *paths, sha256=SHA, size=None, **options):
    urls = [path if "://" in path else server.url + path for path in paths or ("/a.pth",)]
    fetch(urls, target, sha256, size, Patience(wait=0, say=said.append, **options), "put it there by hand")


def refused(*arguments, **options):
    with pytest.raises(DataError) as stop:
        get(*arguments, **options)
    message = str(stop.value)
    assert message.endswith("; put it there by hand")
    assert "\n" not in message
    return message


def test_the_file_arrives_and_nothing_else_stays(server, tmp_path, said, capsys):
    target = tmp_path / "deep/a.pth"
    get(server, target, said)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["a.pth"]
    assert said == []
    assert "a.pth" in capsys.readouterr().err  # the progress bar
    get(server, tmp_path / "b.pth", said, size=len(CONTENT))
    assert capsys.readouterr().err == ""  # of a small file there is none


def test_a_right_file_is_kept_without_a_question_and_another_is_replaced(server, tmp_path, said):
    target = tmp_path / "a.pth"
    target.write_bytes(CONTENT)
    before = target.stat().st_mtime_ns
    get(server, target, said)
    assert (target.stat().st_mtime_ns, sum(server.asked.values())) == (before, 0)
    target.write_bytes(b"half")
    get(server, target, said)
    assert target.read_bytes() == CONTENT


def test_the_next_address_is_asked_where_one_fails(server, tmp_path, said):
    server.faults["/a.pth"] = [500] * 9
    get(server, tmp_path / "a.pth", said, "http://127.0.0.1:9/a.pth", "/none", "/a.pth", "/second/a.pth", tries=2)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert server.asked == {"/none": 1, "/a.pth": 2, "/second/a.pth": 1}
    assert [line.split("; ")[1] for line in said] == ["try 2 of 2 in 0 s"] * 2  # a missing file is not asked for again


def test_a_failure_names_every_address_with_its_reason(server, tmp_path, said):
    target = tmp_path / "a.pth"
    target.write_bytes(b"before")
    server.faults = {"/a.pth": ["cut"] * 9, "/second/a.pth": [b"<html>log in</html>"] * 9, "/busy": [429] * 9}
    paths = ("/a.pth", "/second/a.pth", "/busy", "/none", "http://127.0.0.1:9/a.pth")
    cut, other, busy, none, dead, _ = refused(server, target, said, *paths, tries=2).split("; ")
    assert cut == f"{server.url}/a.pth: the connection broke off (2 tries)"
    assert other.endswith("/second/a.pth: gives other bytes than the published ones (SHA-256 differs) (2 tries)")
    assert busy.endswith("/busy: HTTP 429 Too Many Requests (2 tries)")
    assert none.endswith("/none: HTTP 404 Not Found")
    assert dead.endswith("Connection refused (2 tries)")
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_waiting_grows(server, tmp_path, monkeypatch):
    server.faults["/a.pth"] = [500] * 3
    waited = []
    monkeypatch.setattr("semiseg.prepare.fetch.time.sleep", waited.append)
    fetch([f"{server.url}/a.pth"], tmp_path / "a.pth", SHA, patience=Patience(tries=4, wait=0.5, say=lambda _: None))
    assert waited == [0.5, 1.0, 2.0]


def test_no_address_at_all_is_not_asked_twice(server, tmp_path, said):
    assert "no.such" in refused(server, tmp_path / "a.pth", said, "no://no.such/a.pth")
    assert said == []


def test_a_certificate_that_is_not_trusted_is_said_at_once_with_what_helps(server, tmp_path, said, monkeypatch):
    def untrusted(*_):
        raise exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")

    monkeypatch.setattr("semiseg.prepare.fetch._get", untrusted)
    message = refused(server, tmp_path / "a.pth", said)
    assert (
        "its certificate is not trusted (behind a proxy that signs with its own: export REQUESTS_CA_BUNDLE=" in message
    )
    assert said == []


def test_without_a_known_hash_the_bytes_are_taken_as_they_come(server, tmp_path, said):
    get(server, tmp_path / "a.pth", said, sha256=None)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_target_that_cannot_be_written_is_named(server, tmp_path, said):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/a.pth: cannot be written"):
        get(server, tmp_path / "file/a.pth", said)
