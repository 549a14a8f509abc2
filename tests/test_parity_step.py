"""One whole training step against the PyTorch twin: both float32 runs are judged by the twin in float64."""

import numpy as np
import pytest

pytest.importorskip("torch")

from parity_cases import difference, our_step, step_case, step_differences, twin_step

pytestmark = pytest.mark.parity
EPSILON = 6e-8  # half the distance from 1 to the next float32


@pytest.mark.parametrize(("method", "freeze_bn"), [("suponly", False), ("ours", False), ("suponly", True)])
def test_loss_gradients_weights_statistics_prototypes_and_teacher(method, freeze_bn):
    case = step_case(method, freeze_bn=freeze_bn)
    ours, single, double = our_step(case), twin_step(case, double=False), twin_step(case, double=True)
    assert ours.keys() == double.keys()
    for kind, found in step_differences(ours, single, double).items():
        usual = float(np.median([of_torch for _, of_torch in found.values()]))
        for name, (of_ours, of_torch) in found.items():
            assert of_ours <= 8 * max(of_torch, usual, EPSILON), f"{kind} {name}: {of_ours:.1e}, torch {of_torch:.1e}"


def test_the_step_compared_is_no_trivial_one():
    case = step_case("ours")
    done = twin_step(case, double=True)
    assert all(done[f"term {name}"] > 0.1 for name in ("sup", "unsup", "proto_sup", "proto_unsup"))
    everything = case.labeled.labels.size * np.log(case.spec.num_classes)
    assert done["term unsup"] < everything  # some pixels are below the threshold
    before = step_case("ours").student.state_dict()
    assert difference(done["student proto_net.proto_list"], before["proto_net.proto_list"].numpy()) > 1e-4
    teacher = step_case("ours").teacher.state_dict()["encoder.bn1.running_mean"].numpy()
    assert difference(done["teacher encoder.bn1.moving_mean"], teacher) > 1e-2


def test_a_small_mistake_would_be_noticed():
    case = step_case("suponly")
    single, double = twin_step(case, double=False), twin_step(case, double=True)
    case.student.encoder.layer4[1].conv2.dilation = (4, 4)  # instead of 8: the last block ignores multi_grid
    case.student.encoder.layer4[1].conv2.padding = (4, 4)
    found = step_differences(twin_step(case, double=True), single, double)
    usual = float(np.median([of_torch for _, of_torch in found["gradient"].values()]))
    assert all(
        wrong > 8 * max(of_torch, usual) for name, (wrong, of_torch) in found["gradient"].items() if "layer4" in name
    )
