"""What TensorBoard is given, read back from the files."""

import numpy as np
import pytest
from event_files import pictures, read_events, scalars

from semiseg.engine.events import Events

CLASSES = ("road", "traffic light")


def test_every_number_has_a_tag_and_its_step(tmp_path):
    events = Events(tmp_path, 0, CLASSES)
    events.numbers(
        {"step": 10, "lr": 0.5, "loss": 2.0, "sup": 1.5, "mask_ratio": 0.25, "pseudo_accuracy_in_mask": 0.75}
    )
    events.numbers({"step": 10, "eval": {"miou": 40.0, "iou": [30.0, 50.0], "proto_miou": 20.0}})
    events.scalar("train/images per second", 7.0, 10)
    events.close()
    events.close()
    assert scalars(tmp_path / "events") == {
        "train/lr": [(10, 0.5)],
        "loss/total": [(10, 2.0)],
        "loss/sup": [(10, 1.5)],
        "pseudo-labels/mask_ratio": [(10, 0.25)],
        "pseudo-labels/accuracy_in_mask": [(10, 0.75)],
        "score/miou": [(10, 40.0)],
        "iou/road": [(10, 30.0)],
        "iou/traffic_light": [(10, 50.0)],
        "score/proto_miou": [(10, 20.0)],
        "train/images_per_second": [(10, 7.0)],
    }


def test_use_of_prototypes_is_the_share_of_the_most_used_of_a_class(tmp_path):
    events = Events(tmp_path, 0, CLASSES)
    events.numbers({"step": 3, "proto_counts": [1, 2, 5, 0, 0, 0]})  # three a class; the second class had no pixel
    events.close()
    assert scalars(tmp_path / "events") == {"prototypes/road": [(3, pytest.approx(5 / 8))]}


def test_pictures_keep_their_pixels(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    events = Events(tmp_path, 0, CLASSES)
    events.picture("images/a", picture, 4)
    events.close()
    assert np.array_equal(pictures(tmp_path / "events")["images/a", 4], picture)


def test_a_continued_run_hides_the_steps_that_are_done_again(tmp_path):
    Events(tmp_path, 20, CLASSES).close()
    starts = [event.step for event in read_events(tmp_path / "events") if event.HasField("session_log")]
    assert starts == [21]
