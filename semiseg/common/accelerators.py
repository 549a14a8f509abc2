"""Which accelerators a machine seems to have, by the files of their drivers: nothing is started."""

from pathlib import Path

DEV = Path("/dev")
# Files of an accelerator's driver: who has one and trains on the CPU all the same should be told.
DRIVER_FILES = {"gpu": "nvidia[0-9]*", "ascend": "davinci[0-9]*"}


def driver_files(dev: Path = DEV) -> dict[str, list[Path]]:
    """``gpu`` and ``ascend`` -> the files of their drivers, none where there is no driver."""
    return {name: sorted(dev.glob(pattern)) for name, pattern in DRIVER_FILES.items()}
