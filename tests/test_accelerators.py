"""Which accelerators a machine seems to have."""

from semiseg.common.accelerators import driver_files


def test_files_of_drivers_are_told_from_others(tmp_path):
    assert driver_files(tmp_path / "none") == {"gpu": [], "ascend": []}
    for name in ("nvidia1", "nvidia0", "nvidiactl", "davinci0", "davinci_manager", "null"):
        (tmp_path / name).touch()
    found = {kind: [path.name for path in paths] for kind, paths in driver_files(tmp_path).items()}
    assert found == {"gpu": ["nvidia0", "nvidia1"], "ascend": ["davinci0"]}
