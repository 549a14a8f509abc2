"""The paired bootstrap against a second way to its numbers, and what cannot be compared."""

import json
from dataclasses import replace

import numpy as np
import pytest

from semiseg import cli, evaluate
from semiseg.common.errors import DataError
from semiseg.metrics import ConfusionMatrix
from semiseg.reporting import paired

CLASSES = ("a", "b", "c")


def counts_of(predictions, labels):
    rows = []
    for prediction, label in zip(predictions, labels, strict=True):
        matrix = ConfusionMatrix(3)
        matrix.update(prediction, label)
        rows.append([np.diag(matrix.counts), matrix.counts.sum(1), matrix.counts.sum(0)])
    return np.array(rows)


def run(name, right, seed, images=40):
    """A run whose pixels are right with this probability."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (images, 30)).astype(np.uint8)
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 3, labels.shape).astype(np.uint8)
    predictions = np.where(rng.random(labels.shape) < right, labels, noise)
    whole = ConfusionMatrix(3)
    whole.update(predictions, labels)
    ids = tuple(f"image {i}" for i in range(images))
    counts = counts_of(predictions, labels)
    return paired.ImageCounts(name, CLASSES, ids, counts, 100 * whole.compute().miou)


def test_the_interval_is_that_of_a_bootstrap_written_as_a_loop():
    first, second = run("first", 0.7, 1), run("second", 0.6, 2)
    found = paired.compare([first], [second])
    rng, differences = np.random.default_rng(7), []
    for _ in range(3000):
        drawn = rng.integers(0, 40, 40)
        scores = []
        for side in (first, second):
            hit, labelled, predicted = side.counts[drawn].sum(0)
            scores.append(100 * np.mean(hit / (labelled + predicted - hit)))
        differences.append(scores[0] - scores[1])
    assert found.mean == pytest.approx(first.miou - second.miou)
    spread = np.std(differences)
    assert found.low == pytest.approx(np.percentile(differences, 2.5), abs=0.1 * spread)
    assert found.high == pytest.approx(np.percentile(differences, 97.5), abs=0.1 * spread)
    assert found.above == pytest.approx(np.mean(np.array(differences) > 0), abs=0.02)


def test_a_run_beside_itself_differs_by_nothing_and_the_order_is_a_sign():
    first, second = run("first", 0.7, 1), run("second", 0.6, 2)
    same = paired.compare([first], [first])
    assert (same.mean, same.low, same.high, same.above) == (0, 0, 0, 0)
    there, back = paired.compare([first], [second]), paired.compare([second], [first])
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))


def test_what_both_get_wrong_alike_does_not_widen_the_interval():
    first, other = run("first", 0.7, 1), run("other", 0.7, 2)
    counts = first.counts.copy()
    counts[0] = other.counts[0]  # one image of forty differs
    alike = paired.compare([first], [replace(first, counts=counts)])
    apart = paired.compare([first], [other])
    assert alike.high - alike.low < (apart.high - apart.low) / 3


def test_runs_of_several_seeds_are_averaged_before_they_are_compared():
    first = [run("first", 0.7, seed) for seed in (1, 2, 3)]
    second = [run("second", 0.6, seed) for seed in (4, 5)]
    found, alone = paired.compare(first, second), paired.compare(first[:1], second[:1])
    assert found.mean == pytest.approx(np.mean([r.miou for r in first]) - np.mean([r.miou for r in second]))
    assert found.high - found.low < alone.high - alone.low


def test_a_class_that_a_draw_does_not_show_does_not_count_there():
    counts = np.zeros((2, 3, 2), np.int64)
    counts[0, :, 0] = counts[1, :, 1] = 5  # each image shows one class, and all is right
    perfect = paired.ImageCounts("x", CLASSES[:2], ("0", "1"), counts, 100.0)
    wrong = replace(perfect, counts=counts * np.array([0, 1, 1])[None, :, None], miou=0.0)
    found = paired.compare([perfect], [wrong])
    assert (found.low, found.high) == (100, 100)


def test_a_class_that_no_image_shows_counts_in_the_interval_as_it_does_in_the_score():
    first, second = run("first", 0.7, 1), run("second", 0.6, 2)
    both = paired.compare([first], [second])
    more = [
        replace(
            side, classes=(*CLASSES, "d"), counts=np.pad(side.counts, ((0, 0), (0, 0), (0, 1))), miou=side.miou * 3 / 4
        )
        for side in (first, second)
    ]
    found = paired.compare(more[:1], more[1:])
    assert (found.mean, found.low, found.high) == pytest.approx(
        (0.75 * both.mean, 0.75 * both.low, 0.75 * both.high), rel=1e-9
    )


def test_other_images_or_classes_are_refused():
    first = run("first", 0.7, 1)
    with pytest.raises(DataError, match=r"second: scored on other images than first \(differs: image 39\)"):
        paired.compare([first], [run("second", 0.7, 1, images=39)])
    with pytest.raises(DataError, match="other classes"):
        paired.compare([first], [replace(first, classes=("a", "b", "d"))])
    counts = first.counts.copy()
    counts[7, 1, 2] += 1
    with pytest.raises(DataError, match=r"masks: scored on other labelled pixels than first \(differs: image 7\)"):
        paired.compare([first], [replace(first, name="masks", counts=counts)])


def write(path, side):
    rows = dict(zip(side.ids, side.counts.tolist(), strict=True))
    path.write_text(json.dumps({"miou": side.miou, "iou": dict.fromkeys(side.classes, 1.0), "image_counts": rows}))
    return str(path)


def test_the_command_line_prints_the_difference_of_two_files(tmp_path, capsys):
    first, second = run("first", 0.7, 1), run("second", 0.6, 2)
    files = write(tmp_path / "a.json", first), write(tmp_path / "b.json", second)
    assert cli.run(evaluate.main, ["--compare", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"first:  mIoU {first.miou:.2f}  {files[0]}"
    assert lines[2].startswith(f"first minus second: {first.miou - second.miou:+.2f}, 95% interval ")


@pytest.mark.parametrize(
    "content", ["{}", "no JSON", "[1]", '{"miou": 1, "iou": {"a": 1}, "image_counts": {"x": [1]}}']
)
def test_files_without_counts_by_image_are_one_line(tmp_path, capsys, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    assert cli.run(evaluate.main, ["--compare", str(path), str(path)]) == 2
    assert "holds no counts by image (image_counts); expected what `semiseg evaluate" in capsys.readouterr().err


def test_comparing_is_not_scoring(tmp_path, capsys):
    file = write(tmp_path / "a.json", run("first", 0.7, 1))
    for other in (["--json", "x.json"], ["--as-trained"]):
        assert cli.run(evaluate.main, ["--compare", file, file, *other]) == 2
    assert "--compare: takes two files of --json and nothing else" in capsys.readouterr().err
    assert cli.run(evaluate.main, ["--compare", file, str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err
