"""Exit codes and the one line of an error, for every command line alike."""

import pytest

from semiseg import cli
from semiseg.common.errors import CheckpointError, ConfigError, DataError


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


def test_an_interruption_is_code_130(capsys):
    assert cli.run(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_overrides_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.jpg").write_bytes(b"")
    paths, overrides = cli.split_overrides(["a=b.jpg", "a=c.jpg", "x/y.png", "dataset.split=16", "A=b", "--x=1"])
    assert [str(path) for path in paths] == ["a=b.jpg", "x/y.png", "A=b", "--x=1"]
    assert overrides == ["a=c.jpg", "dataset.split=16"]
