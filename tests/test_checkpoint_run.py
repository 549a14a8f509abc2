"""What a run continues from: the last k checkpoints, damage passed over, other runs refused, all devices alike."""

import json

import numpy as np
import pytest
from mindspore import Parameter, Tensor

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.run import Checkpoints, Progress
from semiseg.common.distributed import Group
from semiseg.common.errors import CheckpointError
from semiseg.common.host_array import HostArray
from semiseg.config.keys import SaverConfig


def parameter(value):
    return Parameter(Tensor(np.full(3, value, np.float32)), "student.value")


class Holder:
    def __init__(self, folder, keep=2):
        self.value = parameter(0)
        self.checkpoints = Checkpoints(folder, SaverConfig(keep=keep), {"student.value": self.value})

    def save(self, *steps):
        for step in steps:
            self.value.set_data(Tensor(np.full(3, step, np.float32)))
            self.checkpoints.save(Progress(step, images=4))
        return self

    def resume(self):
        progress, notes = self.checkpoints.resume(Progress(images=4))
        assert self.value.asnumpy().tolist() == [progress.step] * 3
        return progress, notes


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, []), (2, ["step_00000030.ckpt"]), (3, ["step_00000020.ckpt", "step_00000030.ckpt"])]
)
def test_the_last_k_are_kept(tmp_path, keep, kept):
    Holder(tmp_path, keep).save(10, 20, 30, 40)
    assert names(tmp_path) == ["last.ckpt", *kept]
    for name in kept:
        assert checkpoint_io.read(tmp_path / "checkpoints" / name)[1]["step"] == int(name[5:13])
    assert Holder(tmp_path, keep).resume()[0].step == 40


def test_a_continued_run_keeps_counting(tmp_path):
    Holder(tmp_path).save(10)
    holder = Holder(tmp_path)
    holder.resume()
    holder.save(20)
    assert names(tmp_path) == ["last.ckpt", "step_00000010.ckpt"]


def test_a_damaged_last_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    Holder(tmp_path, 3).save(10, 20, 30)
    damage(tmp_path / "checkpoints/last.ckpt")
    holder = Holder(tmp_path, 3)
    progress, notes = holder.resume()
    assert progress.step == 20
    assert "last.ckpt: damaged" in notes[0]
    assert "step_00000020.ckpt instead of" in notes[1]
    holder.save(25)  # the damaged file is replaced, not kept in the place of a good one
    assert names(tmp_path) == ["last.ckpt", "step_00000010.ckpt", "step_00000020.ckpt"]
    assert checkpoint_io.read(tmp_path / "checkpoints/step_00000020.ckpt")[1]["step"] == 20


def test_a_kill_between_the_two_renames_leaves_something_to_continue_from(tmp_path):
    Holder(tmp_path).save(10, 20)
    (tmp_path / "checkpoints/last.ckpt").unlink()
    assert Holder(tmp_path).resume()[0].step == 10


def test_without_a_whole_checkpoint_the_damage_is_named(tmp_path):
    Holder(tmp_path).save(10, 20)
    for path in (tmp_path / "checkpoints").iterdir():
        damage(path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged"):
        Holder(tmp_path).resume()


def test_a_run_that_starts_over_puts_the_one_before_aside(tmp_path):
    Holder(tmp_path, 3).save(10, 20, 30)
    (tmp_path / "metrics.jsonl").write_text("of the first")
    (tmp_path / "checkpoints/best.ckpt").write_text("of the first")
    holder = Holder(tmp_path, 3)
    place = tmp_path / "checkpoints/replaced"
    assert holder.checkpoints.set_aside() == (
        f"starts anew: the run that was here lies in {place}, until the next one is replaced"
    )
    assert holder.resume() == (Progress(images=4), [])  # what is killed now begins anew
    assert sorted(path.name for path in place.iterdir()) == [
        *("best.ckpt", "last.ckpt", "metrics.jsonl", "step_00000010.ckpt", "step_00000020.ckpt")
    ]
    assert not (tmp_path / "metrics.jsonl").exists()
    holder.save(5, 8)
    assert Holder(tmp_path, 3).checkpoints.set_aside()
    assert sorted(path.name for path in place.iterdir()) == ["last.ckpt", "step_00000005.ckpt"]


def test_where_no_run_is_nothing_is_put_aside(tmp_path):
    assert Holder(tmp_path).checkpoints.set_aside() == ""
    assert not (tmp_path / "checkpoints/replaced").exists()


def test_a_start_that_saved_nothing_does_not_cost_what_was_put_aside(tmp_path):
    Holder(tmp_path).save(10, 20)
    assert Holder(tmp_path).checkpoints.set_aside()
    (tmp_path / "metrics.jsonl").write_text("of a start that was killed")
    assert Holder(tmp_path).checkpoints.set_aside() == ""
    assert (tmp_path / "checkpoints/replaced/last.ckpt").is_file()


def test_a_run_that_goes_on_is_not_put_aside(tmp_path):
    Holder(tmp_path).save(10)
    holder = Holder(tmp_path)
    holder.resume()
    assert holder.checkpoints.set_aside() == ""
    assert (tmp_path / "checkpoints/last.ckpt").is_file()


def test_a_second_saving_of_a_step_keeps_what_the_first_kept(tmp_path):
    holder = Holder(tmp_path, 3).save(10, 20, 30)
    holder.save(30)
    assert names(tmp_path) == ["last.ckpt", "step_00000010.ckpt", "step_00000020.ckpt"]


def test_a_run_may_go_on_with_one_image_at_once_which_has_no_previous_one_yet(tmp_path):
    Holder(tmp_path).save(10)
    value, image = parameter(0), HostArray("previous.image", np.zeros((1, 2), np.float32))
    state = {"student.value": value, "previous.image": image}
    progress, _ = Checkpoints(tmp_path, SaverConfig(), state).resume(Progress(images=4))
    assert (progress.step, value.asnumpy().tolist(), image.array.any()) == (10, [10] * 3, False)


def test_what_cannot_be_put_aside_stays_and_is_one_line(tmp_path, monkeypatch):
    Holder(tmp_path).save(10)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(CheckpointError, match=r"replaced: cannot be written \(No space left on device\); choose"):
        Holder(tmp_path).checkpoints.set_aside()
    monkeypatch.undo()
    assert Holder(tmp_path).resume()[0].step == 10


def test_nothing_to_continue_is_a_fresh_run(tmp_path):
    assert Holder(tmp_path).resume() == (Progress(images=4), [])


def test_only_a_runs_own_checkpoint_is_continued(tmp_path):
    holder = Holder(tmp_path)
    last = tmp_path / "checkpoints/last.ckpt"
    for record in ({"step": 6, "miou": 40.0}, {"step": 1, "best": 2.0, "best_step": 1}):
        checkpoint_io.save(last, {"student.value": holder.value}, record)
        with pytest.raises(CheckpointError, match=r"last\.ckpt: holds no training run"):
            holder.resume()
    checkpoint_io.save(last, {"student.other": holder.value}, vars(Progress(3, images=4)))
    with pytest.raises(CheckpointError, match=r"1 missing \(first: student\.value\), 1 unexpected"):
        holder.resume()


def test_a_record_from_before_devices_were_counted_is_continued(tmp_path):
    holder = Holder(tmp_path)
    record = {"step": 0, "best": 2.0, "best_step": 0, "sums": {}}
    checkpoint_io.save(tmp_path / "checkpoints/last.ckpt", {"student.value": holder.value}, record)
    assert holder.resume()[0] == Progress(0, 2.0, 0, images=4)


def test_another_number_of_images_a_step_is_refused_with_both(tmp_path):
    Holder(tmp_path).save(10)
    with pytest.raises(CheckpointError, match=r"takes 4 labelled images a step .* it would be 8.* must stay the same"):
        Holder(tmp_path).checkpoints.resume(Progress(images=8, devices=2))


def test_other_devices_with_as_many_images_go_on_and_say_so(tmp_path):
    Holder(tmp_path).save(10)
    progress, notes = Holder(tmp_path).checkpoints.resume(Progress(images=4, devices=2))
    assert (progress.step, progress.devices) == (10, 2)
    assert "written on 1 device(s), now there are 2" in notes[0]


# Several devices, whose talk is played by a table of what each of them says.


class Pair(Group):
    """Rank ``rank`` of two, beside one whose arrays are those of this one plus 100."""

    def gather(self, values):
        other = values + values.dtype.type(100)
        return np.stack([values, other] if self.rank == 0 else [other, values])

    def texts(self, text):
        return [text if self.rank == 0 else self.said, text]

    def broadcast(self, values):
        for value in values:
            if self.rank == 1:
                value.set_data(Tensor(self.sent[value.name]))


def group(rank, **extra):
    made = Pair(rank, 2)
    for name, value in extra.items():
        object.__setattr__(made, name, value)
    return made


def own_state(folder, made):
    shared, own = parameter(1), HostArray("bank.rows", np.array([5.0, 6.0], np.float32), per_device=True)
    state = {"student.value": shared, "bank.rows": own}
    return Checkpoints(folder, SaverConfig(), state, made), shared, own


def test_what_every_device_has_for_itself_is_saved_for_all_and_comes_back_to_each(tmp_path):
    checkpoints, _, _ = own_state(tmp_path, group(0))
    checkpoints.save(Progress(7, devices=2))
    arrays, record = checkpoint_io.read(tmp_path / "checkpoints/last.ckpt")
    assert arrays["bank.rows"].tolist() == [[5, 6], [105, 106]]
    first, shared, own = own_state(tmp_path, group(0))
    shared.set_data(Tensor(np.zeros(3, np.float32)))
    own.array[:] = 0
    progress, _ = first.resume(Progress(devices=2))
    assert first.share(progress).step == 7
    assert (shared.asnumpy().tolist(), own.array.tolist()) == ([1, 1, 1], [5, 6])
    sent = {"student.value": arrays["student.value"], "bank.rows": arrays["bank.rows"]}
    second, shared, own = own_state(tmp_path, group(1, sent=sent, said=json.dumps(record)))
    progress, _ = second.resume(Progress(devices=2))
    assert progress.step == 0  # rank 1 reads nothing itself
    assert second.share(progress).step == 7
    assert (shared.asnumpy().tolist(), own.array.tolist()) == ([1, 1, 1], [105, 106])


def test_only_the_first_device_writes(tmp_path):
    own_state(tmp_path, group(1))[0].save(Progress(7, devices=2))
    assert not (tmp_path / "checkpoints").exists()


def test_state_of_two_devices_does_not_go_on_with_another_number(tmp_path):
    own_state(tmp_path, group(0))[0].save(Progress(7, devices=3))
    with pytest.raises(CheckpointError, match=r"each of 3 device.* state of its own \(bank\.rows\).* start it with 3"):
        own_state(tmp_path, group(0))[0].resume(Progress(devices=2))
