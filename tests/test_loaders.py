"""The training stream is a function of seed and step, whatever workers, ranks and restarts; evaluation keeps order."""

import itertools
import threading

import numpy as np
import pytest
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.common.rng import generator
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.loaders import Shard, TrainStream, eval_samples
from semiseg.data.specs import get_spec
from semiseg.data.transforms import TrainTransform

COUNT = 7
IDS = [f"im {i}" for i in range(COUNT)]
TRANSFORM = TrainTransform((16, 20), (0.5, 2.0))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voc")
    (folder / "JPEGImages").mkdir()
    (folder / "SegmentationClassAug").mkdir()
    rng = np.random.default_rng(0)
    for sample in IDS:
        size = rng.integers(15, 40, 2)
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"JPEGImages/{sample}.jpg")
        mask = Image.fromarray(rng.integers(0, 21, size).astype(np.uint8))
        mask.save(folder / f"SegmentationClassAug/{sample}.png")
    return folder


@pytest.fixture
def dataset(root):
    return SegmentationDataset(get_spec("pascal"), root, IDS)


def take(dataset, steps, batch_size=3, **options):
    options = {"seed": 5, "purpose": "labeled", "workers": 0, **options}
    with TrainStream(dataset, TRANSFORM, batch_size, **options) as stream:
        return list(itertools.islice(stream, steps))


def same(first, second):
    labels = (first.labels is None and second.labels is None) or np.array_equal(first.labels, second.labels)
    return (
        (first.step, first.ids) == (second.step, second.ids) and np.array_equal(first.images, second.images) and labels
    )


def test_batches_have_the_stated_shapes_and_types(dataset):
    batch = take(dataset, 1)[0]
    assert (batch.step, len(batch.ids)) == (0, 3)
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 16, 20), np.float32)
    assert (batch.labels.shape, batch.labels.dtype) == ((3, 16, 20), np.int32)


@pytest.mark.parametrize("whole", [True, False])
def test_the_parts_of_a_batch_make_it_up_again(dataset, whole):
    (batch,) = take(dataset, 1, batch_size=4)
    batch = batch._replace(inside=batch.labels < 9) if whole else batch._replace(labels=None)
    assert batch.part(0, 1) is batch
    parts = [batch.part(number, 2) for number in (0, 1)]
    assert [part.step for part in parts] == [batch.step] * 2
    assert [part.ids for part in parts] == [batch.ids[:2], batch.ids[2:]]
    for field in ("images", "labels", "inside") if whole else ("images",):
        assert np.array_equal(np.concatenate([getattr(part, field) for part in parts]), getattr(batch, field))
    if not whole:
        assert [(part.labels, part.inside) for part in parts] == [(None, None)] * 2


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_nothing(dataset, workers):
    inline, threaded = take(dataset, 9), take(dataset, 9, workers=workers)
    assert all(same(a, b) for a, b in zip(inline, threaded, strict=True))


@pytest.mark.parametrize("start", [1, 2, 8])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_restart_at_any_step_continues_the_same_stream(dataset, start, workers):
    whole = take(dataset, 11)
    rest = take(dataset, 11 - start, start_step=start, workers=workers)
    assert all(same(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_any_batch_can_be_asked_for_without_moving_the_stream(dataset):
    whole = take(dataset, 6)
    with TrainStream(dataset, TRANSFORM, 3, seed=5, purpose="labeled") as stream:
        assert same(stream.batch(5), whole[5])
        assert same(next(stream), whole[0])
        assert same(stream.batch(0), whole[0])
        assert same(next(stream), whole[1])
        assert stream.step == 2


def test_each_pass_shows_every_sample_once_in_another_order(dataset):
    order = [s for batch in take(dataset, COUNT, batch_size=2) for s in batch.ids]
    first, second = order[:COUNT], order[COUNT:]
    assert sorted(first) == sorted(second) == IDS
    assert first != second


@pytest.mark.parametrize("skip", [False, True])
def test_the_order_of_a_pass_is_the_permutation_of_seed_purpose_and_pass(dataset, skip):
    order = [s for batch in take(dataset, 2 * COUNT, batch_size=1, skip=skip) for s in batch.ids]
    expected = [generator(5, "labeled.order", turn).permutation(COUNT) for turn in (0, 1)]
    assert order == [IDS[index] for index in np.concatenate(expected)]


def test_a_sample_is_augmented_anew_in_each_pass(dataset):
    seen = {}
    for batch in take(dataset, 2 * COUNT, batch_size=1):
        seen.setdefault(batch.ids[0], []).append(batch.images[0])
    assert all(len(views) == 2 and not np.array_equal(*views) for views in seen.values())


@pytest.mark.parametrize(("world", "batch_size"), [(2, 2), (3, 1), (2, 5)])
def test_ranks_together_see_what_one_process_sees(dataset, world, batch_size):
    together = take(dataset, 6, batch_size=world * batch_size)
    ranks = [take(dataset, 6, batch_size=batch_size, shard=Shard(r, world)) for r in range(world)]
    for step, whole in enumerate(together):
        parts = [rank[step] for rank in ranks]
        assert [s for part in parts for s in part.ids] == whole.ids
        np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
        np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), whole.labels)


def test_seed_and_purpose_give_other_streams(dataset):
    base = take(dataset, 4)
    for change in ({"seed": 6}, {"purpose": "unlabeled"}):
        other = take(dataset, 4, **change)
        assert [b.ids for b in other] != [b.ids for b in base]


def test_an_unlabelled_stream_gives_the_same_images_without_labels(dataset, root):
    alone = take(SegmentationDataset(get_spec("pascal"), root, IDS, with_mask=False), 4)
    for batch, reference in zip(alone, take(dataset, 4), strict=True):
        assert batch.labels is None
        np.testing.assert_array_equal(batch.images, reference.images)


def test_a_batch_may_be_larger_than_the_data_set(dataset):
    batch = take(dataset, 1, batch_size=2 * COUNT)[0]
    assert sorted(batch.ids) == sorted(IDS * 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_keeps_its_type_and_closes_the_stream(root, workers):
    dataset = SegmentationDataset(get_spec("pascal"), root, [*IDS, "absent"])
    stream = TrainStream(dataset, TRANSFORM, 3, seed=0, purpose="labeled", workers=workers)
    with pytest.raises(DataError, match=r"absent\.png: no such mask"):
        list(itertools.islice(stream, 4))
    with pytest.raises(RuntimeError, match="closed"):
        next(stream)
    assert not readers()


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("semiseg-read")]


def test_closing_ends_the_threads(dataset):
    with TrainStream(dataset, TRANSFORM, 3, seed=0, purpose="labeled", workers=2) as stream:
        next(stream)
        assert readers()
    assert not readers()
    stream.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(stream)


IMPOSSIBLE = [
    {"batch_size": 0},
    {"shard": Shard(2, 2)},
    {"shard": Shard(accumulate=0)},
    {"workers": -1},
    {"start_step": -1},
]


@pytest.mark.parametrize("wrong", IMPOSSIBLE)
def test_impossible_settings_are_refused(dataset, wrong):
    with pytest.raises(ValueError, match="impossible stream"):
        TrainStream(dataset, TRANSFORM, **{"batch_size": 1, "seed": 0, "purpose": "labeled", **wrong})


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_evaluation_reads_every_sample_once_in_order(dataset, workers):
    samples = list(eval_samples(dataset, workers))
    assert [s for s, _, _ in samples] == IDS
    for index, (_, image, mask) in enumerate(samples):
        expected_image, expected_mask = dataset.read(index)
        assert (image == expected_image).all()
        assert (mask == expected_mask).all()
    assert not readers()


def test_evaluation_can_take_a_share_of_the_samples(dataset):
    assert [s for s, _, _ in eval_samples(dataset, 2, range(1, COUNT, 3))] == IDS[1::3]


def test_leaving_an_evaluation_early_ends_the_threads(dataset):
    samples = eval_samples(dataset, 2)
    next(samples)
    assert readers()
    samples.close()
    assert not readers()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_evaluation_arrives_in_its_turn(root, workers):
    dataset = SegmentationDataset(get_spec("pascal"), root, [*IDS[:3], "absent", IDS[3]])
    seen = []
    with pytest.raises(DataError, match="absent"):
        seen.extend(sample for sample, _, _ in eval_samples(dataset, workers))
    assert seen == IDS[:3]
    assert not readers()
