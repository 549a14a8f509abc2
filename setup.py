"""Packaging of SemiSeg. The version lives in semiseg/__init__.py, the dependencies in requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The version as written in semiseg/__init__.py, without importing it: its dependencies are not there yet."""
    text = (ROOT / "semiseg" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('semiseg/__init__.py has no line of the form __version__ = "1.2.3"')
    return found.group(1)


def read_requirements() -> list[str]:
    """The lines of requirements.txt without comments."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


setup(
    name="semiseg",
    version=read_version(),
    description="Semi-supervised semantic segmentation with prototype-based consistency regularization, on MindSpore",
    license="Apache-2.0",
    packages=find_packages(include=["semiseg", "semiseg.*"]),
    package_data={"semiseg.reporting": ["*.css", "*.js", "*.j2"]},
    python_requires=">=3.10,<3.13",
    install_requires=read_requirements(),
    extras_require={"test": ["pytest", "ruff", "onnxruntime>=1.17"], "parity": ["torch"]},
)
