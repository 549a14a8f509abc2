"""What the documentation names is there: files, commands, configuration keys; the README's example runs."""

import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import markdown_pages as markdown
import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image
from tiny import ROOT

from semiseg import cli, export
from semiseg.config import flatten
from semiseg.config.keys import Config
from semiseg.config.reference import filled

ALL = markdown.tracked_pages()
PAGES = [page for page in ALL if page.name != "CHANGELOG.md"]  # it names what is gone
SECTIONS = "dataset|trainer|criterion|net|evaluation|saver|monitor|expected"


def ids(path):
    return str(path.relative_to(ROOT))


def test_every_page_is_looked_at():
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert [path for path in listed.splitlines() if ROOT / path not in ALL] == []
    assert len(ALL) > 25


@pytest.mark.parametrize("page", ALL, ids=ids)
def test_links_lead_somewhere(page):
    assert [link for link in markdown.read(page).links if not urlsplit(link).scheme and not leads(page, link)] == []


def leads(page, link):
    """Whether there is such a file in the repository, with such a heading."""
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in {heading.anchor for heading in markdown.read(target).headings}


@pytest.mark.parametrize("page", ALL, ids=ids)
def test_addresses_are_well_formed(page):
    """Whether somebody answers there is not asked: tests need no network."""
    addresses = [link for link in markdown.read(page).links if urlsplit(link).scheme]
    well_formed = re.compile(
        r"https?://[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?(/[\w.~!$&'()*+,;=:@%/-]*)?(\?[^\s#]*)?(#[^\s#]+)?"
    )
    assert [link for link in addresses if not well_formed.fullmatch(link)] == []


def test_an_anchor_is_what_github_makes_of_a_heading():
    page = markdown.parse(
        "# A `net.key`, and (B)\n\n## 数据集：VOC 2012\n\n## Same\n\n### Same\n\n```\n# no heading\n```\n"
    )
    assert [heading.anchor for heading in page.headings] == ["a-netkey-and-b", "数据集voc-2012", "same", "same-1"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_are_there(page):
    text = page.read_text()
    modules = set(re.findall(r"python -m semiseg\.(\w+)", text))
    modules = {f"semiseg/{name}/__main__.py" if name == "config" else f"semiseg/{name}.py" for name in modules}
    scripts = set(re.findall(r"(?<![\w/])((?:tools|benchmarks)/\w+\.(?:py|sh))", text))
    assert [path for path in sorted(modules | scripts) if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_names_after_semiseg_are_commands(page):
    named = set(re.findall(r"(?:`|^)semiseg ([a-z][a-z-]+)", page.read_text(), re.MULTILINE))
    assert sorted(named - set(cli.COMMANDS)) == []


def known_keys():
    """Every key and section, those that may be null included."""
    keys = set(flatten(filled(Config())))
    return keys | {".".join(key.split(".")[:i]) for key in keys for i in range(1, key.count(".") + 1)}


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "migrating.md"], ids=ids)  # that page names old keys
def test_keys_exist(page):
    named = set(re.findall(rf"(?<![\w/.])((?:{SECTIONS})(?:\.[a-z_]+)+)(?![\w./(])", page.read_text()))
    files = {name for name in named if name.endswith((".py", ".yaml", ".md"))}
    assert sorted(named - files - known_keys()) == []


def test_the_tests_that_the_documentation_names_are_there():
    page = (ROOT / "docs/reliability.md").read_text()
    rows = re.findall(r"^\| .* \| \[(test_\w+\.py)\]\(../tests/\1\): (.*) \|$", page, re.MULTILINE)
    assert len(rows) >= 14
    for file, names in rows:
        defined = set(re.findall(r"^def (test_\w+)", (ROOT / "tests" / file).read_text(), re.MULTILINE))
        assert [name for name in re.findall(r"`(\w+)`", names) if name not in defined] == []


def test_the_readmes_onnx_example_runs(ready, tmp_path):
    pytest.importorskip("onnxruntime")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "onnx" in b)
    path, overrides, _ = ready
    command = ["--config", str(path), "--format", "onnx", "--size", "40", "50", "--out", str(tmp_path / "model.onnx")]
    assert cli.run(export.main, [*command, *overrides]) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    classes = np.asarray(Image.open(tmp_path / "classes.png"))
    assert classes.shape == (40, 50)
    assert classes.max() < 6


def test_the_programming_interfaces_example_runs(ready):
    (block,) = (block.text for block in markdown.read(ROOT / "docs/api.md").code if block.language == "python")
    path, overrides, best = ready
    named = {"experiments/pascal/183/ours/config.yaml": str(path), "best.ckpt": str(best)}
    for name, here in named.items():
        assert f'"{name}"' in block
        block = block.replace(f'"{name}"', repr(here))
    block = block.replace('["device=cpu"]', repr(["device=cpu", *overrides]))
    names = {"images": Tensor(np.zeros((1, 3, 33, 33), np.float32))}
    exec(block, names)
    assert names["logits"].shape[:2] == (1, 6)
