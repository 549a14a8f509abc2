"""What lies where in the folder of a run."""

from pathlib import Path

from semiseg.common.run_files import RunFiles


def test_files_lie_where_the_documents_say():
    files = RunFiles(Path("run"), "snapshots")
    assert files.resolved == Path("run/config.resolved.yaml")
    assert (files.metrics, files.log) == (Path("run/metrics.jsonl"), Path("run/log.txt"))
    assert files.list_of("labeled") == Path("run/lists/labeled.txt")
    assert (files.last, files.best) == (Path("run/snapshots/last.ckpt"), Path("run/snapshots/best.ckpt"))
    assert RunFiles(Path("run")).best == Path("run/checkpoints/best.ckpt")


def test_older_checkpoints_are_the_newest_first(tmp_path):
    files = RunFiles(tmp_path)
    assert files.older() == []
    files.checkpoints.mkdir()
    for step in (20, 5, 100):
        files.kept(step).touch()
    files.last.touch()
    assert files.older() == [files.kept(100), files.kept(20), files.kept(5)]
