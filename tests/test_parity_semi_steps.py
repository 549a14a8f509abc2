"""Two whole steps of ``u2pl`` and of ``ael`` against the PyTorch twin, judged by the twin in float64.

docs/testing.md lists changes that these comparisons have been seen to catch.
"""

import numpy as np
import pytest

pytest.importorskip("torch")

from parity_cases import step_differences
from parity_semi_steps import CONFIDENCES, STEPS, case_of, marks_at_first, our_steps, twin_steps

pytestmark = pytest.mark.parity
METHODS = ("u2pl", "ael")
NOISE = 1e-7  # of a float32 sum


@pytest.fixture(scope="module", params=METHODS)
def plain(request):
    """(method, ours without compiling, twin in float32, twin in float64)"""
    case = case_of(request.param)
    return request.param, our_steps(case), twin_steps(case, double=False), twin_steps(case, double=True)


def test_losses_gradients_weights_statistics_bank_and_confidences(plain):
    _, ours, single, double = plain
    assert ours.keys() == double.keys()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in double.items()}
    for kind, found in step_differences(ours, single, double).items():
        usual = float(np.median([of_torch for _, of_torch in found.values()]))
        for name, (of_ours, of_torch) in found.items():
            assert of_ours <= 16 * max(of_torch, usual, NOISE), f"{kind} {name}: {of_ours:.1e}, torch {of_torch:.1e}"


def test_compiled_steps_are_the_plain_ones(plain):
    method, ours, _, _ = plain
    compiled = our_steps(case_of(method, jit=True))
    assert compiled.keys() == ours.keys()
    for kind, found in step_differences(compiled, compiled, ours).items():
        worst = max(found, key=lambda name: found[name][0])
        assert found[worst][0] < (1e-3 if kind == "gradient" else 5e-5), f"{kind} {worst}"


def test_the_steps_compared_are_no_trivial_ones(plain):
    method, _, _, done = plain
    terms = {name: value for name, value in done.items() if name.startswith("term")}
    assert min(terms.values()) > 0.1
    assert len({float(value) for value in terms.values()}) == 2 * len(terms) // len(STEPS)
    if method == "u2pl":
        sizes = [len(done[f"bank {c}"]) for c in range(len(CONFIDENCES))]
        assert all(sizes)
        assert 300 in sizes[1:]  # full, the oldest have fallen out
    else:
        assert np.abs(done["memory confidence"] - CONFIDENCES).max() > 0.01
        assert (done["memory images"] != marks_at_first()).any()
        assert (done["memory images"].sum(1) > 0).sum() > 2  # the teacher sees several classes
