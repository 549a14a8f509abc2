"""The twin's training rules against naive numpy loops."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reference import training  # noqa: E402
from reference.losses import cross_entropy, prototype_logits, upsample  # noqa: E402
from reference.network import Network, NetworkSpec, dropout_shapes, inject_dropout  # noqa: E402
from reference.step import StepBatch, StepSpec, step_losses, teacher_labels, train_step  # noqa: E402

pytestmark = pytest.mark.parity


SPEC = NetworkSpec(depth=18, width=2, inner_planes=4, num_classes=3, prototypes=2, aux=True, zero_init_residual=False)


def small(seed) -> Network:
    torch.manual_seed(seed)
    return Network(SPEC)


@pytest.mark.parametrize("size", [(33, 47), (32, 40), (1, 9)])
def test_sampling_equals_upsampling_and_indexing(size):
    feature = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    every = torch.cartesian_prod(torch.arange(size[0]), torch.arange(size[1]))
    actual = training.sample_features(feature, every, size).transpose(1, 2).reshape(2, 3, *size)
    torch.testing.assert_close(actual, upsample(feature, size), rtol=1e-10, atol=1e-12)


def test_each_cell_gives_one_point():
    jitter = np.random.default_rng(0).integers(0, [[[2]], [[3]]], (2, 4, 4))  # 9 // 4 rows, 14 // 4 columns
    points = training.cell_points(torch.from_numpy(jitter), (9, 14)).numpy()
    for i in range(4):
        for j in range(4):
            row, col = points[i * 4 + j]
            assert (row, col) == (i * 2 + jitter[0, i, j], j * 3 + jitter[1, i, j])
    label = np.arange(2 * 9 * 14).reshape(2, 9, 14)
    taken = training.sample_labels(torch.from_numpy(label), torch.from_numpy(points))
    assert taken[1, 5] == label[1, points[5][0], points[5][1]]


def test_prototype_update():
    rng = np.random.default_rng(1)
    prototypes, feature = rng.normal(size=(6, 5)), rng.normal(size=(40, 5))
    label = rng.choice([0, 2, 255], 40)  # class 1 gets nothing
    expected = prototypes.copy()
    members = {}
    for n in range(40):
        if label[n] != 255:
            rows = [2 * label[n], 2 * label[n] + 1]
            cosines = [feature[n] @ prototypes[r] / np.linalg.norm(prototypes[r]) for r in rows]
            members.setdefault(rows[int(np.argmax(cosines))], []).append(feature[n])
    for row, own in members.items():
        expected[row] = 0.99 * prototypes[row] + 0.01 * np.mean(own, axis=0)
    before = torch.from_numpy(prototypes)
    actual = training.update_prototypes(before, 2, torch.from_numpy(feature), torch.from_numpy(label))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    np.testing.assert_array_equal(actual[2:4], prototypes[2:4])
    np.testing.assert_array_equal(before, prototypes)


def test_prototype_without_pixels_stays():
    prototypes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    updated = training.update_prototypes(prototypes, 2, torch.tensor([[2.0, 0.1]]), torch.tensor([0]), 0.5)
    torch.testing.assert_close(updated, torch.tensor([[1.5, 0.05], [-1.0, 0.0]]))
    none = training.update_prototypes(prototypes, 2, torch.ones(3, 2), torch.full((3,), 255))
    assert torch.equal(none, prototypes)


def test_ema_decay():
    assert [training.ema_decay(step) for step in (0, 1, 3)] == [0, 0.5, 0.75]
    assert training.ema_decay(10_000) == 0.99


def test_teacher_follows_parameters_and_statistics():
    teacher, student = small(1), small(2)
    for value in student.state_dict().values():
        value.add_(1)
    before = {name: value.clone().numpy() for name, value in teacher.state_dict().items()}
    training.update_teacher(teacher, student, step=3)
    for name, value in teacher.state_dict().items():
        wanted = student.state_dict()[name].numpy()
        if not name.endswith("num_batches_tracked") and name != "proto_net.proto_list":
            wanted = 0.75 * before[name] + 0.25 * wanted
        np.testing.assert_allclose(value.numpy(), wanted, rtol=1e-6, atol=1e-7, err_msg=name)


def test_sgd_with_two_groups_and_poly_schedule():
    network = small(3).double()
    head = dict(network.named_parameters())["decoder.classifier.8.bias"]
    stem = dict(network.named_parameters())["encoder.conv1.0.weight"]
    optimizer = training.make_optimizer(network, 0.1, momentum=0.9, weight_decay=1e-2, head_factor=10)
    schedule = training.poly_schedule(optimizer, total=5)
    expected = {p: [p.detach().numpy().copy(), 0.0] for p in (head, stem)}
    rng = np.random.default_rng(4)
    for step in range(5):
        for p in network.parameters():
            if p.requires_grad:
                p.grad = torch.from_numpy(rng.normal(size=p.shape))
        for p, factor in ((head, 10), (stem, 1)):
            value, velocity = expected[p]
            velocity = 0.9 * velocity + (p.grad.numpy() + 1e-2 * value)
            expected[p] = [value - factor * 0.1 * (1 - step / 5) ** 0.9 * velocity, velocity]
        optimizer.step()
        schedule.step()
    for p, (value, _) in expected.items():
        np.testing.assert_allclose(p.detach().numpy(), value, rtol=1e-10)
    assert network.proto_net.proto_list.grad is None


def test_cutmix_pastes_the_next_image():
    rng = np.random.default_rng(5)
    image, label = rng.normal(size=(3, 2, 6, 8)), rng.integers(0, 9, (3, 6, 8))
    boxes = np.array([[0, 0, 2, 3], [3, 4, 3, 4], [1, 1, 1, 1]])
    inside = training.box_masks(torch.from_numpy(boxes), (6, 8))
    mixed_image = training.cutmix(torch.from_numpy(image), inside).numpy()
    mixed_label = training.cutmix(torch.from_numpy(label), inside).numpy()
    for b, r, c in np.ndindex(3, 6, 8):
        top, left, height, width = boxes[b]
        source = (b + 1) % 3 if top <= r < top + height and left <= c < left + width else b
        assert mixed_label[b, r, c] == label[source, r, c]
        np.testing.assert_array_equal(mixed_image[b, :, r, c], image[source, :, r, c])


def step_case():
    """A student in float64 without dropout, and a batch of 2 labelled and 2 unlabelled images."""
    student, teacher = small(6).double(), small(7).double()
    names = dropout_shapes(SPEC, 4)
    inject_dropout(student, {name: torch.full(shape, 0.9) for name, shape in names.items()})  # 0.9 / (1 - 0.1) = 1
    rng = np.random.default_rng(8)
    image_l, image_u = torch.from_numpy(rng.normal(size=(2, 2, 3, 33, 40)))
    label_l = torch.from_numpy(rng.choice([0, 1, 2, 255], (2, 33, 40)))
    pseudo, confidence, logits = teacher_labels(teacher, image_u)
    assert torch.equal(logits.argmax(1), pseudo)
    points = training.cell_points(torch.from_numpy(rng.integers(0, 8, (2, 4, 4))), (33, 40))
    batch = StepBatch(image_l, label_l, image_u, pseudo, confidence, points)
    threshold = float(confidence.median())
    return student, teacher, batch, StepSpec(k=2, threshold=threshold, criterion=cross_entropy, proto_weight=0.5)


def test_step_losses_equal_losses_on_whole_upsampled_maps():
    student, _, batch, spec = step_case()
    terms, feature, labels = step_losses(student, batch, spec)
    out = student(torch.cat([batch.image_l, batch.image_u]))
    pred, aux, rep = (upsample(x, (33, 40)).detach() for x in (out.pred, out.aux, out.rep))
    log_prob, aux_log_prob = pred.log_softmax(1).numpy(), aux.log_softmax(1).numpy()
    label, pseudo = batch.label_l.numpy(), batch.pseudo_label.numpy()
    confident = batch.confidence.numpy() >= spec.threshold
    valid = [at for at in np.ndindex(*label.shape) if label[at] != 255]
    sup = -np.mean([log_prob[b, label[b, r, c], r, c] for b, r, c in valid])
    sup -= 0.4 * np.mean([aux_log_prob[b, label[b, r, c], r, c] for b, r, c in valid])
    kept = [at for at in np.ndindex(*pseudo.shape) if confident[at]]
    unsup = -sum(log_prob[2 + b, pseudo[b, r, c], r, c] for b, r, c in kept) / pseudo.size
    log_prob = prototype_logits(rep.permute(0, 2, 3, 1), student.proto_net.proto_list, 2).log_softmax(-1).numpy()
    spots = [(b, r, c) for b in range(2) for r, c in batch.points.tolist()]
    some = [(b, r, c) for b, r, c in spots if label[b, r, c] != 255]
    sup_proto = -0.5 * np.mean([log_prob[b, r, c, label[b, r, c]] for b, r, c in some])
    sure = [(b, r, c) for b, r, c in spots if confident[b, r, c]]
    unsup_proto = -0.5 * sum(log_prob[2 + b, r, c, pseudo[b, r, c]] for b, r, c in sure) / len(spots)
    expected = {"sup": sup, "sup_proto": sup_proto, "unsup": unsup, "unsup_proto": unsup_proto}
    assert 0 < len(sure) < len(spots)
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name].item(), value, rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(labels[:32], [label[at] for at in spots])
    np.testing.assert_array_equal(labels[32:], [pseudo[at] if confident[at] else 255 for at in spots])
    np.testing.assert_allclose(feature[32 + 5], rep[2, :, batch.points[5][0], batch.points[5][1]], rtol=1e-9)


def test_train_step_moves_student_then_prototypes_then_teacher():
    student, teacher, batch, spec = step_case()
    optimizer = training.make_optimizer(student, 0.01, momentum=0.9, weight_decay=0, head_factor=10)
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    terms, feature, labels = step_losses(student.train(), batch, spec)
    statistics = student.encoder.bn1.running_mean.clone()
    logged = train_step(student, teacher, optimizer, batch, spec, step=0)
    np.testing.assert_allclose([logged[n] for n in terms], [t.item() for t in terms.values()], rtol=1e-12)
    for name, p in student.named_parameters():
        if p.requires_grad:
            lr = 0.01 if name.startswith("encoder.") else 0.1
            torch.testing.assert_close(p.detach(), before[name] - lr * p.grad)
    expected = training.update_prototypes(before["proto_net.proto_list"], 2, feature, labels)
    assert not torch.equal(expected, before["proto_net.proto_list"])
    torch.testing.assert_close(student.proto_net.proto_list.detach(), expected)
    assert not torch.equal(student.encoder.bn1.running_mean, statistics)
    for name, value in teacher.state_dict().items():  # at step 0 the teacher becomes the student
        assert torch.equal(value, student.state_dict()[name]), name
