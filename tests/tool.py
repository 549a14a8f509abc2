"""The data tools as their command lines see them."""

import importlib.util

from tiny import ROOT

from semiseg import cli


def load_tool(name, folder="tools"):
    """The module tools/<name>.py, or that of another folder."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(capsys, module, *arguments):
    """(exit code, standard output, standard error without progress bars) of the tool."""
    capsys.readouterr()
    code = cli.run(module.main, [str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, "\n".join(line for line in err.replace("\r", "\n").splitlines() if "|" not in line)


def snapshot(folder):
    """Every file below a folder with its bytes and time of change: two snapshots are equal if nothing was touched."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}
