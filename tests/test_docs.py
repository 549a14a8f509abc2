"""What the documentation names is there: files, commands, configuration keys; the README's example runs."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT

from semiseg import cli, export
from semiseg.config import flatten
from semiseg.config.keys import Config
from semiseg.config.reference import filled

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = "dataset|trainer|criterion|net|evaluation|saver|monitor|expected"


def ids(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page):
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    assert missing == []


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
