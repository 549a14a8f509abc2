"""Where the commands write by default: in the clone, without one below the working directory."""

from pathlib import Path

from tiny import ROOT

from semiseg.common import checkout


def test_the_clone_is_where_the_package_lies():
    assert checkout.checkout() == checkout.home() == ROOT


def test_without_a_clone_it_is_the_working_directory(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages/semiseg/common/checkout.py"
    installed.parent.mkdir(parents=True)
    monkeypatch.setattr(checkout, "__file__", str(installed))
    assert checkout.checkout() is None
    assert checkout.home() / "data" == Path("data")
