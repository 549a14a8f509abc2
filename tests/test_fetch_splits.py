"""``semiseg fetch-splits`` against folders and a small local server."""

import hashlib

import pytest
from file_server import serving
from tool import run_tool, snapshot

from semiseg.data.splits import read_list
from semiseg.prepare import fetch_splits, published_splits
from semiseg.prepare.published_splits import PublishedList

TOOL = fetch_splits
CONTENT = {
    "pascal/92/labeled.txt": b"a\nb",  # published without a final line end
    "pascal/92/unlabeled.txt": b"c\nd\ne\n",
    "pascal/val.txt": b"v\n",
    "pascal/662_cps/labeled.txt": b"d\n",
    "pascal/662_cps/unlabeled.txt": b"a\r\nb\r\n",
    "cityscapes/186/labeled.txt": b"x\n",
    "cityscapes/186/unlabeled.txt": b"y\nz\n",
    "cityscapes/val.txt": b"w\n",
}


def entry(target):
    data = CONTENT[target]
    repo = "authors/cps" if "_cps" in target else "u2pl/lists"
    ids = len(data.split())
    return PublishedList(
        target, repo, "c0ffee", f"data/splits/{target}", len(data), ids, hashlib.sha256(data).hexdigest()
    )


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """The tool's table holds small lists instead of the real ones."""
    monkeypatch.setattr(TOOL, "PUBLISHED", tuple(map(entry, CONTENT)))


@pytest.fixture
def server(monkeypatch):
    """Serves as raw.githubusercontent.com does."""
    monkeypatch.setenv("no_proxy", "*")
    with serving({f"/{e.repo}/{e.commit}/{e.path}": CONTENT[e.target] for e in map(entry, CONTENT)}) as server:
        yield server


BAD = "/u2pl/lists/c0ffee/data/splits/pascal/92/unlabeled.txt"


def fetch(capsys, server, out, *more):
    return run_tool(capsys, TOOL, "--mirror", server.url, "--wait", 0, "--out", out, *more)


def there(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_lists_of_both_repositories_arrive_byte_for_byte(capsys, server, tmp_path):
    out = tmp_path / "my splits"
    code, text, _ = fetch(capsys, server, out)
    assert code == 0
    assert there(out) == CONTENT
    assert "8 lists written, 0 right already" in text
    assert read_list(out / "pascal/92/labeled.txt") == ["a", "b"]
    assert read_list(out / "pascal/662_cps/unlabeled.txt") == ["a", "b"]


def test_right_files_are_not_fetched_again(capsys, server, tmp_path):
    fetch(capsys, server, tmp_path)
    (tmp_path / "pascal/val.txt").unlink()
    before = snapshot(tmp_path)
    server.asked.clear()
    assert "1 lists written, 7 right already" in fetch(capsys, server, tmp_path)[1]
    assert sum(server.asked.values()) == 1
    after = snapshot(tmp_path)
    assert {path: after[path] for path in before} == before


def test_mirror_may_hold_the_lists_themselves(capsys, server, tmp_path):
    server.files = {f"/lists/{target}": content for target, content in CONTENT.items()}
    code, _, _ = run_tool(capsys, TOOL, "--mirror", f"{server.url}/lists/", "--wait", 0, "--out", tmp_path)
    assert code == 0
    assert there(tmp_path) == CONTENT


def test_of_several_mirrors_the_first_that_has_the_list_is_taken(capsys, server, tmp_path):
    server.faults[BAD] = [503] * 9
    server.files |= {f"/lists/{target}": content for target, content in CONTENT.items()}
    mirrors = ("--mirror", "http://127.0.0.1:9", server.url, f"{server.url}/lists")
    code, text, _ = run_tool(capsys, TOOL, *mirrors, "--tries", 1, "--wait", 0, "--out", tmp_path)
    assert code == 0, text
    assert there(tmp_path) == CONTENT
    third = {path for path in server.asked if path.startswith("/lists/")}  # asked for the one list alone
    assert third == {f"/lists{BAD}", "/lists/pascal/92/unlabeled.txt"}


@pytest.mark.parametrize("fault", ["cut", 500, 503, b"other\n"])
def test_broken_download_is_tried_again_and_told(capsys, server, tmp_path, fault):
    server.faults[BAD] = [fault, fault]
    code, text, _ = fetch(capsys, server, tmp_path)
    assert code == 0
    assert there(tmp_path) == CONTENT
    assert server.asked[BAD] == 3
    assert "try 2 of 3" in text
    assert "try 3 of 3" in text


@pytest.mark.parametrize("fault", ["cut", 500, b"c\nd\nX\n", b"<html>please log in</html>"])
def test_lasting_fault_names_the_file_and_writes_nothing(capsys, server, tmp_path, fault):
    server.faults[BAD] = [fault] * 9
    code, _, err = fetch(capsys, server, tmp_path, "--tries", 2)
    assert code == 2
    assert "pascal/92/unlabeled.txt" in err.splitlines()[-1]
    assert server.asked[BAD] == 2
    assert there(tmp_path) == {}


def test_absent_file_is_not_asked_for_again_and_again(capsys, server, tmp_path):
    del server.files[BAD]
    code, _, err = fetch(capsys, server, tmp_path)
    assert code == 2
    assert "404" in err
    assert server.asked[BAD] == 1
    assert there(tmp_path) == {}


def test_nobody_answers(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    code, _, err = run_tool(capsys, TOOL, "--mirror", "http://127.0.0.1:9", "--wait", 0, "--out", tmp_path)
    assert code == 2
    assert "--from-dir" in err.splitlines()[-1]
    assert there(tmp_path) == {}


@pytest.mark.parametrize("names", [["pascal"], ["662_cps"], ["cityscapes/186", "92"]])
def test_only_some(capsys, server, tmp_path, names):
    assert fetch(capsys, server, tmp_path, "--only", *names)[0] == 0
    expected = {
        "pascal": {t for t in CONTENT if t.startswith("pascal")},
        "662_cps": {"pascal/val.txt", "pascal/662_cps/labeled.txt", "pascal/662_cps/unlabeled.txt"},
        "cityscapes/186": {t for t in CONTENT if "_cps" not in t},
    }[names[0]]
    assert set(there(tmp_path)) == expected


def test_unknown_name_lists_the_known_ones(capsys, server, tmp_path):
    code, _, err = fetch(capsys, server, tmp_path, "--only", "93")
    assert code == 2
    assert "pascal/92" in err


def test_another_file_in_the_place_is_refused_before_anything_is_fetched(capsys, server, tmp_path):
    path = tmp_path / "pascal/92/labeled.txt"
    path.parent.mkdir(parents=True)
    path.write_text("mine\n")
    code, _, err = fetch(capsys, server, tmp_path)
    assert code == 2
    assert str(path) in err
    assert "--overwrite" in err
    assert there(tmp_path) == {"pascal/92/labeled.txt": b"mine\n"}
    assert not server.asked
    assert fetch(capsys, server, tmp_path, "--overwrite")[0] == 0
    assert there(tmp_path) == CONTENT


# ---- --from-dir


@pytest.fixture(params=[".", "data/splits"])
def checkout(request, tmp_path):
    """A checkout's data/splits, given itself or by the checkout's root."""
    root = tmp_path / "a checkout"
    for target, content in CONTENT.items():
        path = root / request.param / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root, root / request.param


def test_checkout_serves_without_network(capsys, checkout, tmp_path):
    before = snapshot(checkout[0])
    assert run_tool(capsys, TOOL, "--from-dir", checkout[0], "--out", tmp_path / "out")[0] == 0
    assert there(tmp_path / "out") == CONTENT
    assert snapshot(checkout[0]) == before


def test_checkout_without_the_cps_lists_gives_the_others_and_says_so(capsys, checkout, tmp_path):
    for name in ("labeled", "unlabeled"):
        (checkout[1] / f"pascal/662_cps/{name}.txt").unlink()
    code, text, _ = run_tool(capsys, TOOL, "--from-dir", checkout[0], "--out", tmp_path / "out")
    assert code == 0
    assert "pascal/662_cps" in text
    assert set(there(tmp_path / "out")) == {target for target in CONTENT if "_cps" not in target}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"c\r\nd\r\ne\r\n", "core.autocrlf"),
        (b"c\nd\ne", "other line ends"),
        (b"c\nd\nf\n", "SHA-256"),
        (b"", "0 of 6"),
    ],
)
def test_wrong_bytes_in_a_checkout_name_the_file_and_write_nothing(capsys, checkout, tmp_path, content, message):
    path = checkout[1] / "pascal/92/unlabeled.txt"
    path.write_bytes(content)
    code, _, err = run_tool(capsys, TOOL, "--from-dir", checkout[0], "--out", tmp_path / "out")
    assert code == 2
    assert str(path.relative_to(checkout[0])) in err
    assert message in err
    assert not (tmp_path / "out").exists()


def test_half_a_split_is_refused(capsys, checkout, tmp_path):
    (checkout[1] / "pascal/92/unlabeled.txt").unlink()
    code, _, err = run_tool(capsys, TOOL, "--from-dir", checkout[0], "--out", tmp_path / "out")
    assert code == 2
    assert "half of this split" in err
    assert not (tmp_path / "out").exists()


def test_folder_without_lists_is_one_line(capsys, tmp_path):
    code, _, err = run_tool(capsys, TOOL, "--from-dir", tmp_path, "--out", tmp_path / "out")
    assert code == 2
    assert "pascal/" in err


def test_source_is_one_of_folder_and_mirror(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        TOOL.parse(["--from-dir", str(tmp_path), "--mirror", "http://x"])
    assert stop.value.code == 2


# ---- the real table


def test_real_table_is_complete_and_consistent():
    by_target = {entry.target: entry for entry in published_splits.PUBLISHED}
    classic = {"pascal": ["92", "183", "366", "732", "1464"], "cityscapes": ["186", "372", "744", "1488"]}
    blended = [f"{n}{end}" for n in (662, 1323, 2646, 5291) for end in ("", "_cps")]
    splits = {*(f"{d}/{s}" for d, names in classic.items() for s in names), *(f"pascal/{s}" for s in blended)}
    splits |= {f"{d}/{s}_unimatch" for d, names in classic.items() for s in names}
    expected = {f"{s}/{p}.txt" for s in splits for p in ("labeled", "unlabeled")}
    assert set(by_target) == expected | {"pascal/val.txt", "cityscapes/val.txt"}
    for split in splits:
        labeled, unlabeled = (by_target[f"{split}/{p}.txt"] for p in ("labeled", "unlabeled"))
        assert labeled.ids == int(split.split("/")[1].split("_")[0])
        assert labeled.ids + unlabeled.ids == (10_582 if split.startswith("pascal") else 2_975)
        assert ("_cps" in split) == (labeled.repo == "HeimingX/semi_seg_proto")
        assert ("_unimatch" in split) == (labeled.repo == "LiheYoung/UniMatch")
    assert len({entry.sha256 for entry in by_target.values()}) == len(by_target)
    assert all(len(entry.sha256) == 64 and len(entry.commit) == 40 for entry in by_target.values())
