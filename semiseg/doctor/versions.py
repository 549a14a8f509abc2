"""What is installed, which accelerators, drivers and toolkits are there, and what MindSpore wants of them."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import semiseg
from semiseg.common.accelerators import driver_files

PACKAGES = ("mindspore", "numpy", "opencv-python-headless", "pillow", "scipy", "pydantic")
# From MindSpore's wheels and documentation, see docs/devices.md.
WANTED_CUDA = "CUDA 11.1 or 11.6 (11.8 is taken for 11.6), cuDNN 8"
WANTED_CANN = {"2.7.1": "8.3.RC1", "2.7.2": "8.5.0"}
GPU_LIBRARIES = ("libcudart.so.11.0", "libcublas.so.11", "libcudnn.so.8")
_TOOLS = {
    "gpu": ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"),
    "ascend": ("npu-smi", "info"),
}
_VARIABLES = (
    *("CUDA_HOME", "CUDA_PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH", "ASCEND_RT_VISIBLE_DEVICES", "DEVICE_ID"),
    *("MS_DEV_HOST_BLOCKING_RUN", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS", "SEMISEG_CORES"),
)
_SECONDS = 30  # for a tool of a driver to answer
_CANN_FILES = ("version.cfg", "compiler/version.info", "arm64-linux/ascend_toolkit_install.info")
_CANN_FILES += ("x86_64-linux/ascend_toolkit_install.info", "aarch64-linux/ascend_toolkit_install.info")


@dataclass(frozen=True)
class Accelerator:
    """One kind. ``files``: of the driver; ``driver``: what its tool says; ``found`` and ``wanted``: toolkits."""

    files: list[str]
    driver: str
    found: list[str]
    wanted: str


@dataclass(frozen=True)
class Machine:
    """All of it; every value is a text to be read and pasted."""

    packages: dict[str, str]
    python: str
    platform: str
    processor: str
    memory: str
    variables: dict[str, str]
    accelerators: dict[str, Accelerator] = field(default_factory=dict)

    def as_json(self) -> dict:
        """For a bug report."""
        return asdict(self)


def machine(environment: Mapping[str, str] = os.environ, dev: Path = Path("/dev")) -> Machine:
    """What this machine has."""
    packages = {"semiseg": semiseg.__version__} | {name: _version(name) for name in PACKAGES}
    found = {"gpu": _cuda(environment), "ascend": _cann(environment)}
    wanted = {"gpu": WANTED_CUDA, "ascend": wanted_cann(packages["mindspore"])}
    accelerators = {
        name: Accelerator([*map(str, files)], _told(_TOOLS[name]), found[name], wanted[name])
        for name, files in driver_files(dev).items()
    }
    return Machine(
        packages,
        f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        platform.platform(),
        _processor(),
        _memory(),
        {name: environment[name] for name in _VARIABLES if name in environment},
        accelerators,
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def wanted_cann(mindspore: str) -> str:
    """The CANN that belongs to a MindSpore version, as far as it is known."""
    if mindspore in WANTED_CANN:
        return f"CANN {WANTED_CANN[mindspore]}"
    known = ", ".join(f"{version}: {cann}" for version, cann in WANTED_CANN.items())
    return f"the CANN that belongs to MindSpore {mindspore} (known: {known}; else mindspore.cn/install)"


def _told(command: tuple[str, ...]) -> str:
    if not shutil.which(command[0]):
        return f"no {command[0]} here"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} does not answer: {error}"
    return (done.stdout.strip() or done.stderr.strip())[:4000] or f"{command[0]}: exit code {done.returncode}"


def _cuda(environment: Mapping[str, str]) -> list[str]:
    """CUDA, cuDNN and the libraries that MindSpore loads, each with its place."""
    home = environment.get("CUDA_HOME")
    folders = [Path(home)] if home else sorted({path.resolve() for path in Path("/usr/local").glob("cuda*")})
    lines = [] if home else ["CUDA_HOME is not set"]
    for folder in folders:
        compiler = folder / "bin/nvcc"
        told = _told((str(compiler), "--version")) if compiler.is_file() else "no bin/nvcc"
        release = re.search(r"release ([\d.]+)", told)
        lines.append(f"{folder}: {f'CUDA {release[1]}' if release else told.splitlines()[-1]}")
    places = [*environment.get("LD_LIBRARY_PATH", "").split(":"), *(f"{f}/lib64" for f in folders), *_LIBRARIES]
    for name in GPU_LIBRARIES:
        at = next((place for place in places if place and Path(place, name).exists()), None)
        lines.append(f"{name}: {at or 'not found on LD_LIBRARY_PATH, in CUDA_HOME/lib64 or the system folders'}")
    return lines


_LIBRARIES = ("/usr/lib64", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")


def _cann(environment: Mapping[str, str]) -> list[str]:
    """CANN's folders and versions."""
    homes = [environment[name] for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME") if environment.get(name)]
    lines = [] if homes else ["ASCEND_HOME_PATH is not set: its set_env.sh was not sourced"]
    usual = Path("/usr/local/Ascend/ascend-toolkit/latest")
    for home in dict.fromkeys([*homes, *([str(usual)] if usual.is_dir() else [])]):
        files = [Path(home, name) for name in _CANN_FILES if Path(home, name).is_file()]
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
        versions = [match[0] for match in (re.search(r"\d+\.\d+[\w.]*", text) for text in texts) if match]
        lines.append(f"{home}: {f'CANN {versions[0]}' if versions else 'no version file'}")
    return lines


def _processor() -> str:
    names = re.findall(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cores} of {os.cpu_count()} cores"


def _memory() -> str:
    total = re.search(r"^MemTotal:\s*(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    return f"{int(total[1]) / 2**20:.0f} GiB" if total else "unknown"


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).is_file() else ""
