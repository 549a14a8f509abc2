"""What of CUDA and CANN is found, and what is wanted."""

import pytest
from tiny import ROOT

from semiseg.doctor import versions


def test_cuda_its_compiler_and_libraries_are_found(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib64").mkdir()
    compiler = tmp_path / "bin/nvcc"
    compiler.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 11.6, V11.6.124'\n")
    compiler.chmod(0o755)
    (tmp_path / "lib64/libcublas.so.11").touch()
    environment = {"CUDA_HOME": str(tmp_path), "PATH": "/none"}
    gpu = versions.machine(environment, tmp_path).accelerators["gpu"]
    assert gpu.found[0] == f"{tmp_path}: CUDA 11.6"
    assert f"libcublas.so.11: {tmp_path}/lib64" in gpu.found
    assert any(line.startswith("libcudnn.so.8: not found") for line in gpu.found)
    compiler.unlink()
    assert versions.machine(environment, tmp_path).accelerators["gpu"].found[0] == f"{tmp_path}: no bin/nvcc"
    assert "CUDA_HOME is not set" in versions.machine({}, tmp_path).accelerators["gpu"].found


def test_cann_is_found_by_its_version_file(tmp_path):
    (tmp_path / "version.cfg").write_text("runtime_running_version=[8.3.RC1:CANN-8.3.RC1]\n")
    ascend = versions.machine({"ASCEND_HOME_PATH": str(tmp_path)}, tmp_path).accelerators["ascend"]
    assert ascend.found[0] == f"{tmp_path}: CANN 8.3.RC1"
    assert "was not sourced" in versions.machine({}, tmp_path).accelerators["ascend"].found[0]


def test_driver_files_and_variables_are_named(tmp_path):
    for name in ("nvidia0", "nvidiactl", "davinci1"):
        (tmp_path / name).touch()
    machine = versions.machine({"CUDA_HOME": "/x", "SECRET": "y"}, tmp_path)
    assert machine.accelerators["gpu"].files == [f"{tmp_path}/nvidia0"]
    assert machine.accelerators["ascend"].files == [f"{tmp_path}/davinci1"]
    assert machine.variables == {"CUDA_HOME": "/x"}
    assert machine.packages["mindspore"] != "not installed"


def test_a_tool_of_a_driver_is_asked_and_its_failure_told(tmp_path, monkeypatch):
    tool = tmp_path / "npu-smi"
    tool.write_text("#!/bin/sh\necho 'version 24.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.machine({}, tmp_path).accelerators["ascend"].driver == "version 24.1"
    tool.write_text("#!/bin/sh\nexit 3\n")
    assert versions.machine({}, tmp_path).accelerators["ascend"].driver == "npu-smi: exit code 3"
    assert versions.machine({}, tmp_path).accelerators["gpu"].driver == "no nvidia-smi here"


@pytest.mark.parametrize("version", versions.WANTED_CANN)
def test_what_is_wanted_is_what_the_documentation_says(version):
    text = (ROOT / "docs/devices.md").read_text(encoding="utf-8")
    assert f"{version}: {versions.WANTED_CANN[version]}" in text
    assert f"| {version} | {versions.WANTED_CANN[version]} |" in (ROOT / "docs/zh/ascend.md").read_text(
        encoding="utf-8"
    )
    assert versions.wanted_cann(version) == f"CANN {versions.WANTED_CANN[version]}"
    assert all(name in text for name in versions.GPU_LIBRARIES)
    assert f"{version}: {versions.WANTED_CANN[version]}" in versions.wanted_cann("9.9")
