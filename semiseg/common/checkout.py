"""The clone that the package was imported from, where there is one."""

from pathlib import Path


def checkout() -> Path | None:
    """The clone's folder, with experiments/ and tools/; None where the package is installed without it."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "experiments").is_dir() and (folder / "tools").is_dir() else None


def home() -> Path:
    """What data/ and ckpt/ are in by default: the clone, without one the working directory (as a relative path)."""
    return checkout() or Path()
