"""Which images of a step's whole batch a micro-batch of a device holds."""

import pytest
from tiny import context_for

from semiseg.common.distributed import Group
from semiseg.data.loaders import Shard, TrainStream


@pytest.mark.parametrize(("world", "accumulate"), [(1, 3), (2, 1), (2, 3), (3, 2)])
def test_the_places_of_images_are_those_that_the_streams_give_them(world, accumulate):
    batch, step = 2, 5

    class Numbers:
        def __len__(self):
            return 10**6

    seen = []
    for rank in range(world):
        context = context_for("suponly", f"trainer.accumulate={accumulate}", batch=batch)
        object.__setattr__(context, "group", Group(rank, world))
        stream = TrainStream(Numbers(), None, batch, seed=0, purpose="x", shard=Shard(rank, world, accumulate))
        total = batch * world * accumulate
        places = [
            step * total + row
            for part in range(accumulate)
            for rows in [context.batch_slice(part)]
            for row in range(rows.first, rows.first + rows.count)
        ]
        assert stream._positions(step) == places
        assert {context.batch_slice(part).total for part in range(accumulate)} == {total}
        seen += places
    assert sorted(seen) == list(range(step * total, (step + 1) * total))


def test_steps_epochs_and_phases_follow_from_the_length_of_an_epoch():
    context = context_for("suponly", "trainer={epochs: 4, sup_only_epoch: 2}", steps_per_epoch=3)
    assert (context.steps, context.first_semi_step) == (12, 6)
    assert [context.epoch(step) for step in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    assert type(context.epoch(4)) is int
