"""What test_distributed.py runs on each of two devices under msrun: ``python on_devices.py FOLDER``.

Each process writes <rank>.npz with what it found; the test compares it with one process that has the whole batch.
"""

import sys
from pathlib import Path

import numpy as np
from mindspore import Parameter, Tensor
from tiny import Trainee, batch_of, context_for

from semiseg.common import distributed
from semiseg.common.host_array import HostArray
from semiseg.engine.step import NonFiniteLossError

PLAIN = "trainer.unsupervised.apply_aug=none"  # partners in CutMix are of one device, as published
SEMI = "trainer.sup_only_epoch=0"
# name -> (method, overrides, steps): one device with the whole batch gives the same.
CASES = {
    # One step: at the second a ReLU is so near to 0 that gradients of two versions of MindSpore differ by a percent.
    "supervised": ("suponly", ["net.aux_loss={}"], 1),
    "mean teacher": ("mean_teacher", [SEMI, PLAIN, "trainer.unsupervised.normalize=confident"], 2),
    "prototypes": ("ours", [PLAIN], 2),  # a supervised step, k-means, a semi-supervised one
    "strong views": ("unimatch", [SEMI, "trainer.weak_to_strong.partner=same_image"], 2),
    "teacher by forward": ("mean_teacher", [SEMI, PLAIN, "trainer.teacher_bn=forward"], 1),
}
# These have no counterpart on one device; that all devices agree is what must hold.
OTHERS = {
    "cutmix, ohem": ("ours", [SEMI, "criterion={type: ohem, kwargs: {min_kept: 100}}"], 1),
    "own statistics": ("mean_teacher", [SEMI, "net.sync_bn=false"], 1),
    "one image each": ("mean_teacher", [SEMI, "trainer.accumulate=2"], 1),
    "u2pl": ("u2pl", [SEMI], 1),
    "ael": ("ael", [SEMI], 1),
}
WHOLE = 4  # images a step on both devices


def of_images(batch, taken):
    """The batch of some of its images."""
    arrays = {name: value[taken] for name, value in batch._asdict().items() if isinstance(value, np.ndarray)}
    again = batch.again and of_images(batch.again, taken)
    return batch._replace(ids=[batch.ids[i] for i in taken], again=again, **arrays)


def run(case, group):
    """(terms of each step, state afterwards, names of each device's own state) of this device."""
    name, overrides, steps = (CASES | OTHERS)[case]
    batch = 1 if case == "one image each" else WHOLE // group.world
    context = context_for(name, *overrides, batch=batch, group=group)
    trainee, results = Trainee(name, context), []
    for step in range(steps):
        trainee.method.enter_step(step)
        pair = [batch_of(step, kind, WHOLE) for kind in ("labeled", "unlabeled")]
        pair[0].labels[0, :25] = 255  # the devices have different numbers of labelled pixels
        rows = [context.batch_slice(part) for part in range(context.trainer.accumulate)]
        taken = np.concatenate([np.arange(r.first, r.first + r.count) for r in rows])
        pair = [of_images(batch, taken) for batch in pair]
        result = trainee.step(step, *pair)
        results.append([result.loss, *result.terms.values()])
    own = {name for name, value in trainee.state.items() if getattr(value, "per_device", False)}
    return np.array([value for row in results for value in row]), trainee.arrays(), own


def refusal(group):
    """What is said when an image of rank 1 alone is not finite."""
    context = context_for("suponly", batch=2, group=group)
    batch = batch_of(0, "labeled", WHOLE)
    rows = context.batch_slice(0)
    batch.images[3] = np.nan
    part = slice(rows.first, rows.first + rows.count)
    batch = batch._replace(images=batch.images[part], labels=batch.labels[part], ids=batch.ids[part])
    try:
        Trainee("suponly", context).step(0, batch, None)
    except NonFiniteLossError as error:
        return str(error)
    return "trained"


def overflow(group):
    """What mixed precision makes of a step whose rank 1 alone is not finite: (skipped, scale, was anything changed)."""
    context = context_for("suponly", "trainer.amp=O1", batch=2, group=group)
    batch = batch_of(0, "labeled", WHOLE)
    batch.images[3] = np.inf
    part = slice(2 * group.rank, 2 * group.rank + 2)
    batch = batch._replace(images=batch.images[part], labels=batch.labels[part], ids=batch.ids[part])
    trainee = Trainee("suponly", context)
    before = trainee.arrays()
    result = trainee.step(0, batch, None)
    after = trainee.arrays()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    return np.array([result.overflow, result.loss_scale, sorted(changed) != ["amp.scale", "amp.skipped_steps"]])


def talk(group):
    """What the parts of ``Group`` give on this device."""
    counts = np.array([[2**40 + group.rank, -1], [0, 7]], np.int64)
    value = Parameter(Tensor(np.full((2, 2), group.rank, np.float32)))
    host = HostArray("h", np.full(2, group.rank, np.int32))
    group.broadcast([value, host])
    uneven = (Tensor(np.full((3, 2), 1.5 + group.rank, np.float32)), Tensor(np.ones((), np.float32)))
    return {
        "total": group.total(counts),
        "total of doubles": group.total(np.array([0.1 + group.rank])),
        "gather": group.gather(np.full((2, 1), group.rank, np.float32)),
        "texts": np.array(group.texts("ä" * (3 * group.rank))),
        "any": np.array([group.any(group.rank == 1), group.any(False)]),
        "broadcast": value.asnumpy(),
        "broadcast of a host array": host.array,
        "tensors": np.concatenate([t.asnumpy().reshape(-1) for t in group.tensors(uneven)]),
    }


def main(folder):
    group = distributed.join()
    found = {f"talk {name}": array for name, array in talk(group).items()}
    for case in CASES | OTHERS:
        values, arrays, own = run(case, group)
        found[f"{case}: values"] = values
        found |= {f"{case}: {'own ' if name in own else ''}{name}": array for name, array in arrays.items()}
    found["refusal"] = np.array(refusal(group))
    found["overflow"] = overflow(group)
    np.savez(Path(folder) / f"{group.rank}.npz", **found)
    group.any(False)


if __name__ == "__main__":
    main(sys.argv[1])
