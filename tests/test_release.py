"""What is published: an sdist, the wheel that is built from it, both installed into a fresh environment."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile

import pytest
from tiny import ROOT

import semiseg
from semiseg.cli import COMMANDS

BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"


def python(*arguments, cwd, executable=sys.executable):
    """Runs Python away from the clone; the output. A failure shows what it printed."""
    command = [executable, *map(str, arguments)]
    environment = {"PATH": os.defpath, "HOME": str(cwd)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Built from a copy of the sources, so that the clone stays as it is."""
    folder = tmp_path_factory.mktemp("sdist")
    sources = folder / "sources"
    shutil.copytree(ROOT / "semiseg", sources / "semiseg", ignore=shutil.ignore_patterns("__pycache__"))
    for path in filter(lambda path: path.is_file(), ROOT.iterdir()):
        shutil.copy(path, sources)
    python("-c", BUILD.format("sdist"), folder, cwd=sources)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from what the sdist holds and from nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.unpack_archive(sdist, folder)
    (sources,) = folder.iterdir()
    python("-c", BUILD.format("wheel"), folder, cwd=sources)
    (archive,) = folder.glob("*.whl")
    return archive


def test_the_archives_carry_the_version(sdist, wheel):
    assert sdist.name == f"semiseg-{semiseg.__version__}.tar.gz"
    assert wheel.name == f"semiseg-{semiseg.__version__}-py3-none-any.whl"


def test_the_sdist_holds_what_a_reader_and_a_build_need(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "setup.py", "requirements.txt", "constraints.txt", "semiseg/py.typed"} <= names
    assert {"LICENSE", "README.md", "README_zh.md", "CHANGELOG.md", "CITATION.cff"} <= names
    assert not [name for name in names if name.startswith(("tests", "data", "ckpt", ".")) or name.endswith(".pyc")]


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "semiseg").rglob("*") if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == {f for f in files if not f.endswith(".pyc")}
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert re.search(r"^Requires-Dist: mindspore[<>=,.0-9]+$", metadata, re.MULTILINE)


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_it_installs_and_runs_in_a_fresh_environment(kind, request, tmp_path):
    """Without network: what it depends on, setuptools included, is that of the running Python."""
    pytest.importorskip("pip", reason="the running environment has no pip")
    venv.create(tmp_path / "env")
    fresh = tmp_path / "env/bin/python"
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["--python", fresh, "install", "--no-deps", "--no-index", "--no-build-isolation"]
    python("-m", "pip", *install, request.getfixturevalue(kind), cwd=tmp_path)
    where = python("-c", "import semiseg; print(semiseg.__file__)", cwd=tmp_path, executable=fresh)
    assert where.startswith(str(packages))
    command = tmp_path / "env/bin/semiseg"
    assert python(command, "--version", cwd=tmp_path, executable=fresh) == f"semiseg {semiseg.__version__}\n"
    overview = python(command, "--help", cwd=tmp_path, executable=fresh)
    assert [name for name in COMMANDS if f"  {name} " not in overview] == []
    loader = "import jinja2; print(jinja2.PackageLoader('semiseg.reporting', '.').list_templates())"
    assert "report.html.j2" in python("-c", loader, cwd=tmp_path, executable=fresh)
    few = ["--unlabeled", "8", "--val", "2", "--labels", "4", "--draws", "1"]
    python(command, "make-synthetic", "--out", "data", "--size", "32", *few, cwd=tmp_path, executable=fresh)
    assert len(list((tmp_path / "data/JPEGImages").iterdir())) > 8
