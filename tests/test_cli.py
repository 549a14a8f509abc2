"""Exit codes and the one line of an error, for every command line alike."""

import importlib
import subprocess
import sys
import warnings

import pytest
from tiny import ROOT

import semiseg
from semiseg import cli
from semiseg.common.errors import CheckpointError, ConfigError, DataError, Note, UserError


def raising(error):
    def work(_):
        raise error

    return work


def test_arguments_arrive_without_debug_and_the_code_is_passed_on():
    seen = []
    assert cli.run(lambda arguments: seen.extend(arguments), ["a", "--debug", "b=c"]) == 0
    assert seen == ["a", "b=c"]
    assert cli.run(lambda _: 3, []) == 3


@pytest.mark.parametrize("kind", [ConfigError, DataError, CheckpointError])
def test_what_a_user_can_mend_is_one_line_and_code_2(kind, capsys):
    assert cli.run(raising(kind("a.yaml: wrong")), []) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: a.yaml: wrong\n"
    assert captured.out == ""


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(raising(ZeroDivisionError()), [])
    with pytest.raises(ConfigError):
        cli.run(raising(ConfigError("x")), ["--debug"])


def test_notes_are_one_line_each_and_said_once(capsys):
    def work(_):
        for _ in range(3):
            warnings.warn(Note("16 bits"), stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.run(work, []) == 0
    assert capsys.readouterr().err == "note: 16 bits\n"


def test_an_interruption_is_code_130(capsys):
    assert cli.run(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_overrides_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.jpg").write_bytes(b"")
    given = ["a=b.jpg", "a=c.jpg", "x/y.png", "trainer.adaptive.gamma2=2", "A=b", "--x=1", "2=3.jpg"]
    paths, overrides = cli.split_overrides(given)
    assert [str(path) for path in paths] == ["a=b.jpg", "x/y.png", "A=b", "--x=1", "2=3.jpg"]
    assert overrides == ["a=c.jpg", "trainer.adaptive.gamma2=2"]


# ---- semiseg COMMAND


def call(*arguments, cwd=ROOT, **env):
    """Another process; ``arguments`` follow the interpreter."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env or None, capture_output=True, text=True, check=False)


def test_the_overview_names_every_command_and_loads_none():
    modules = sorted(command.target.partition(":")[0] for command in cli.COMMANDS.values())
    code = f"""
import sys
from semiseg import cli
assert cli.main(["--help"]) == 0
print(*[name for name in {[*modules, "mindspore", "numpy", "pydantic"]!r} if name in sys.modules])
"""
    out = call("-c", code).stdout
    lines = out.splitlines()
    assert lines[0].startswith("usage: semiseg COMMAND")
    assert lines[-1] == ""  # nothing loaded
    for name, command in cli.COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, command.help] for line in lines), name


def test_without_a_command_the_overview_is_shown_with_code_2(capsys):
    assert cli.main([]) == 2
    assert "  train " in capsys.readouterr().out


def test_the_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"semiseg {semiseg.__version__}\n"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "did you mean 'train'?"),
        ("check_data", "did you mean 'check-data'?"),
        ("xyz", "known here: check-data, compare"),
    ],
)
def test_an_unknown_command_is_one_line(name, hint, capsys):
    assert cli.main([name, "--config", "x"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {name}: no such command; ")
    assert hint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_there_and_explains_itself(name, capsys):
    target = cli.COMMANDS[name].target
    module, _, function = target.partition(":")
    if not function:
        assert (ROOT / target).is_file()
        return
    assert callable(getattr(importlib.import_module(module), function))
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: semiseg {name} ")


def test_arguments_go_to_the_command(capsys):
    assert cli.main(["config", "show", str(ROOT / "experiments/pascal/183/ours"), "trainer.seed=77"]) == 0
    assert any(line.split()[:2] == ["trainer.seed", "77"] for line in capsys.readouterr().out.splitlines())
    assert cli.main(["config", "show", "nowhere"]) == 2
    assert "nowhere: no such configuration file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("start", "usage"),
    [
        (["-m", "semiseg", "config"], "python -m semiseg config"),
        (["-m", "semiseg.config"], "python -m semiseg.config"),
        (["-m", "semiseg", "make-splits"], "python -m semiseg make-splits"),
        ([ROOT / "tools/make_splits.py"], "python tools/make_splits.py"),
        (["-c", "from semiseg.cli import main; main()", "make-splits"], "semiseg make-splits"),
    ],
)
def test_usage_says_what_was_typed(start, usage):
    done = call(*start, "--help")
    assert done.stdout.startswith(f"usage: {usage} "), done.stderr


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if "semiseg.prepare." in cli.COMMANDS[name].target])
def test_the_programs_of_tools_run_from_anywhere_without_an_installation(name, tmp_path):
    program = ROOT / "tools" / f"{name.replace('-', '_')}.py"
    done = call(program, "--help", cwd=tmp_path, PATH="/usr/bin:/bin")
    assert done.stdout.startswith(f"usage: python tools/{program.name} "), done.stderr


def test_a_program_of_the_clone_runs_with_its_arguments(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["semiseg"])
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", "--dataset", "none"])
    assert stop.value.code == 2
    assert "experiments/none" in capsys.readouterr().err


def test_debug_reaches_a_program_of_the_clone(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["semiseg"])
    with pytest.raises(UserError, match="experiments/none"):
        cli.main(["compare", "--debug", "--dataset", "none"])


def test_without_a_clone_its_programs_are_refused_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(cli, "checkout", lambda: None)
    assert cli.main(["compare"]) == 2
    assert capsys.readouterr().err.startswith("error: compare: needs a clone of SemiSeg")


def test_what_does_not_fit_into_memory_is_one_line(capsys):
    assert cli.run(raising(MemoryError("Unable to allocate 8.00 TiB")), []) == 2
    assert capsys.readouterr().err.startswith("error: not enough memory (Unable to allocate 8.00 TiB); smaller images")
    with pytest.raises(MemoryError):
        cli.run(raising(MemoryError()), ["--debug"])


@pytest.mark.parametrize("text", ["-1", "1.5", "many", ""])
def test_numbers_below_the_least_are_refused_by_the_command_line(text, capsys):
    for command in ("check-data", "make-splits", "new", "prepare-voc", "prepare-cityscapes"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, f"--workers={text}"])
        assert ended.value.code == 2
        assert f"--workers: expected a whole number, at least 0, got '{text}'" in capsys.readouterr().err
    assert cli.at_least(0)("0") == 0
