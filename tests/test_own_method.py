"""The worked example of docs/new-method.md: what stands there trains and is scored through the command line."""

import json
import re
import sys
import types

import pytest
from tiny import ROOT

from semiseg import cli, train
from semiseg.checkpoints import io as checkpoint_io
from semiseg.methods import METHODS

PAGE = (ROOT / "docs/new-method.md").read_text(encoding="utf-8")


@pytest.fixture
def example(monkeypatch, tmp_path, tiny_config):
    """The configuration of the page's method, which is in METHODS as the page says."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (settings,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    name, of_class = re.search(r'`"(\w+)": (\w+)`', PAGE).groups()
    path = tmp_path / "entropy_minimization.py"
    path.write_text(code)
    module = types.ModuleType("entropy_minimization")
    module.__file__ = str(path)
    exec(compile(code, path, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "entropy_minimization", module)
    monkeypatch.setitem(METHODS, name, getattr(module, of_class))
    (tmp_path / "method.yaml").write_text(settings)
    config = tiny_config("suponly")
    config.write_text(
        re.sub(r"^base: (.*)$", lambda m: f"base: [{m[1].strip('[]')}, method.yaml]", config.read_text(), flags=re.M)
    )
    return config


def test_the_example_is_short():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    body = code[code.index("class EntropyMinimization") :]
    assert len(body.strip().splitlines()) <= 30


def test_the_example_trains_and_is_scored(example, tiny_overrides, tmp_path):
    plain = [o for o in tiny_overrides if "proto_head" not in o]
    assert cli.run(train.main, ["--config", str(example), *plain]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert any(row.get("entropy", 0) > 0 for row in rows)
    assert rows[-1]["eval"]["miou"] > 0
    arrays, _ = checkpoint_io.read(tmp_path / "run/checkpoints/last.ckpt")
    assert {name.split(".")[0] for name in arrays} == {"student", "teacher", "optimizer"}
    assert "this run is finished" not in (tmp_path / "run/log.txt").read_text()
