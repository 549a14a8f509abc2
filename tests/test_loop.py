"""The training loop on a method of one number: when it evaluates and saves; a stop anywhere changes nothing."""

import itertools
import json
import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from tiny import context_of

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.run import Checkpoints, Progress
from semiseg.common.errors import UserError
from semiseg.config.keys import SaverConfig
from semiseg.engine import loop
from semiseg.engine.log import RunLog
from semiseg.engine.step import NonFiniteLossError, StepResult
from semiseg.methods.base import Evaluated

STEPS = 12
SCORES = {3: 10.0, 6: 40.0, 9: 30.0, 12: 40.0}


class OneNumber(nn.Cell):
    def __init__(self):
        super().__init__()
        self.value = Parameter(Tensor(np.zeros(1, np.float32)), "value")


class Fake:
    """A run over 12 steps, 3 an epoch, whose state is one number; ``at(step)`` is called in the middle of each step."""

    def __init__(self, folder, at=lambda step: None, every=5, log_every=4, evaluate=True, eval_every=1, **saver):
        context = context_of(f"trainer={{log_every: {log_every}, eval_every: {eval_every}}}", steps_per_epoch=3)
        self.context, self.network = context, OneNumber()
        saver = SaverConfig(every=every, **saver)
        self.first_semi_step = None
        self.seen, self.scored, self._at = [], [], at
        self._during_evaluation = self._during_enter = lambda step: None
        self.run = loop.Run(
            folder=folder,
            saver=saver,
            method=self,
            train_step=self.step,
            checkpoints=Checkpoints(folder, saver, {"student.value": self.network.value}),
            batches=iter(()),
            evaluate=self.evaluate if evaluate else None,
        )

    def enter_step(self, step):
        self._during_enter(step)
        return ["half way"] if step == STEPS // 2 else []

    def evaluated(self, step):
        return Evaluated(self.network, proto_ready=step >= 6)

    def semi_phase(self, step):
        return self.first_semi_step is not None and step >= self.first_semi_step

    def step(self, step, labeled, unlabeled):
        assert labeled == step  # the streams go on where the run goes on
        self._at(step)
        self.seen.append(step)
        value = self.network.value.asnumpy()[0] * np.float32(0.9) + np.float32(np.sin(step))
        self.network.value.set_data(Tensor(np.array([value], np.float32)))
        terms = {"sup": 1 / (step + 3)} if step < 6 else {"sup": 1 / (step + 3), "mask_ratio": 0.5}
        return StepResult(float(value) / 3, terms, 0.1 * (1 - step / STEPS))

    def evaluate(self, network):
        assert not network.training
        self._during_evaluation(loop_step(self))
        self.scored.append(float(network.value.asnumpy()[0]))
        return {"miou": SCORES[loop_step(self)], "proto_miou": 1.5}

    def train(self):
        self.progress, self.lines = self.run.checkpoints.resume(Progress())
        self.start = self.progress.step
        run = replace(self.run, batches=((step, None) for step in itertools.count(self.start)))
        with RunLog(self.run.folder, self.start, STEPS, to_score=self.progress.to_score) as log:
            return loop.train(run, self.progress, log)


def loop_step(fake):
    return fake.seen[-1] + 1 if fake.seen else fake.start


def last(folder):
    return checkpoint_io.read(folder / "checkpoints/last.ckpt")[1]


def outcome(folder):
    """Everything that a run leaves and that must not depend on interruptions."""
    files = [folder / "checkpoints" / name for name in ("last.ckpt", "best.ckpt")]
    arrays = [({n: a.tolist() for n, a in found.items()}, record) for found, record in map(checkpoint_io.read, files)]
    return (folder / "metrics.jsonl").read_text(), arrays


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    progress = Fake(folder).train()
    return folder, progress


def test_a_step_that_overflowed_is_told_counted_and_left_out_of_the_means(tmp_path):
    class Overflowing(Fake):
        def step(self, step, labeled, unlabeled):
            result = super().step(step, labeled, unlabeled)
            nan, over = float("nan"), step in (1, 2)
            loss = nan if over else 1.0
            scale, count = (2.0 ** (16 - min(step, 2)), min(step, 2))
            return replace(result, loss=loss, terms={"sup": loss}, loss_scale=scale, overflow=over, overflows=count)

    Overflowing(tmp_path, evaluate=False).train()
    first = records(tmp_path)[0]
    assert (first["step"], first["loss"], first["loss_scale"], first["overflows"]) == (4, 1.0, 2**14, 2)
    told = [line.split(" ", 2)[2] for line in (tmp_path / "log.txt").read_text().splitlines() if "float16" in line]
    assert told == [
        "step 1: not finite in float16, skipped: nothing was changed (1 so far; loss scale now 32768)",
        "step 2: not finite in float16, skipped: nothing was changed (2 so far; loss scale now 16384)",
    ]


def test_the_run_goes_to_its_end_and_knows_its_best(whole):
    folder, progress = whole
    assert (progress.step, progress.best, progress.best_step) == (12, 40.0, 6)
    found, record = checkpoint_io.read(folder / "checkpoints/best.ckpt")
    assert list(found) == ["module.value"]
    assert record == {"step": 6, "miou": 40.0}
    found, record = checkpoint_io.read(folder / "checkpoints/last.ckpt")
    assert list(found) == ["student.value"]
    assert record == vars(Progress(12, 40.0, 6, score=40.0, scored="student"))
    log = (folder / "log.txt").read_text()
    assert "half way" in log
    assert "step 9: mIoU 30.00, prototype head 1.50 (best 40.00 at step 6)" in log


def test_metrics_are_means_over_the_steps_since_the_last_line(whole):
    lines = [record for record in records(whole[0]) if "eval" not in record]
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert lines[0]["sup"] == pytest.approx(np.mean([1 / 3, 1 / 4, 1 / 5, 1 / 6]))
    assert lines[1]["mask_ratio"] == 0.5  # the mean over the two steps that had it
    assert lines[0]["lr"] == pytest.approx(0.1 * (1 - 3 / 12))


def test_each_epoch_is_evaluated_once_and_the_last_step_too(whole):
    evaluated = [(r["step"], r["eval"]["miou"]) for r in records(whole[0]) if "eval" in r]
    assert evaluated == [(3, 10.0), (6, 40.0), (9, 30.0), (12, 40.0)]


def test_the_last_step_is_evaluated_also_between_two_cadences(tmp_path):
    fake = Fake(tmp_path, eval_every=3)
    fake.train()
    assert [r["step"] for r in records(tmp_path) if "eval" in r] == [9, 12]


def test_the_end_of_the_supervised_phase_is_scored_and_best_is_not_chosen_there(tmp_path):
    fake = Fake(tmp_path, eval_every=3)
    fake.first_semi_step = 6  # between two evaluations, and better than both
    progress = fake.train()
    rows = [r for r in records(tmp_path) if "eval" in r]
    assert [(r["step"], r.get("phase"), r.get("candidate", True)) for r in rows] == [
        (6, "supervised", False),
        (9, None, True),
        (12, None, True),
    ]
    assert (progress.supervised, progress.score) == (40.0, 40.0)
    assert progress.best_step == 12
    assert checkpoint_io.read(tmp_path / "checkpoints/best.ckpt")[1]["step"] == 12
    assert "step 6: mIoU 40.00, prototype head 1.50 (end of the supervised phase)" in (tmp_path / "log.txt").read_text()


def test_the_end_of_the_supervised_phase_may_be_an_evaluation_like_any_other(tmp_path):
    fake = Fake(tmp_path)
    fake.first_semi_step = 6
    progress = fake.train()
    assert (progress.supervised, progress.best_step) == (40.0, 6)
    assert [r for r in records(tmp_path) if "phase" in r] == [
        {"step": 6, "eval": {"miou": 40.0, "proto_miou": 1.5}, "phase": "supervised"}
    ]


@pytest.mark.parametrize("first", [0, 12, None])
def test_without_two_phases_there_is_nothing_to_compare(tmp_path, first):
    fake = Fake(tmp_path, eval_every=3)
    fake.first_semi_step = first
    assert fake.train().supervised is None
    assert [r["step"] for r in records(tmp_path) if "eval" in r] == [9, 12]


def test_without_evaluation_there_is_a_last_checkpoint_and_no_best(tmp_path):
    progress = Fake(tmp_path, evaluate=False).train()
    assert (progress.step, progress.best) == (12, -1.0)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["last.ckpt", "step_00000010.ckpt"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stop", [0, 2, 4, 5, 6, 8, 10])
def test_a_run_stopped_by_a_signal_and_continued_is_the_same(tmp_path, whole, stop, number):
    def at(step):
        if step == stop:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    first = Fake(tmp_path, at)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert signal.getsignal(number) == before
    assert first.seen[-1] == stop  # the step is finished
    assert f"stopped after step {stop + 1}" in (tmp_path / "log.txt").read_text()
    second = Fake(tmp_path)
    second.train()
    assert second.seen == list(range(stop + 1, STEPS))
    assert outcome(tmp_path) == outcome(whole[0])


@pytest.mark.parametrize("stop", [1, 4, 5, 7, 10, 11])
def test_a_run_killed_between_two_savings_and_continued_is_the_same(tmp_path, whole, stop):
    def at(step):
        if step == stop:
            raise MemoryError

    with pytest.raises(MemoryError):
        Fake(tmp_path, at).train()
    second = Fake(tmp_path)
    second.train()
    assert second.seen[0] == max(saved for saved in (0, 3, 5, 6, 10) if saved <= stop)  # every 5, and before a best one
    assert outcome(tmp_path) == outcome(whole[0])


def test_a_run_killed_after_the_best_was_written_writes_it_again(tmp_path, whole):
    def at(step):
        if step == 7:
            raise MemoryError

    with pytest.raises(MemoryError):
        Fake(tmp_path, at).train()
    assert checkpoint_io.read(tmp_path / "checkpoints/best.ckpt")[1]["step"] == 6
    # It goes on at this very network: no other one can come to stand in best.ckpt for the score in the log.
    assert (last(tmp_path)["step"], last(tmp_path)["to_score"], last(tmp_path)["best_step"]) == (6, True, 3)
    Fake(tmp_path).train()
    assert outcome(tmp_path) == outcome(whole[0])


def test_a_signal_in_the_last_step_is_no_interruption_where_nothing_is_left_to_do(tmp_path):
    at = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == STEPS - 1 else None  # noqa: E731
    assert Fake(tmp_path, at, evaluate=False).train().step == STEPS


@pytest.mark.parametrize("when", [3, 6, 12])
def test_an_evaluation_is_left_at_a_signal_and_done_again(tmp_path, whole, when):
    first = Fake(tmp_path)
    first._during_evaluation = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == when else None
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert (last(tmp_path)["step"], last(tmp_path)["to_score"]) == (when, True)
    second = Fake(tmp_path)
    second.train()
    assert second.seen == list(range(when, STEPS))
    assert outcome(tmp_path) == outcome(whole[0])


def test_a_score_whose_step_was_not_saved_is_not_in_the_log_twice(tmp_path, whole):
    first = Fake(tmp_path)
    first._during_evaluation = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 6 else None
    with pytest.raises(KeyboardInterrupt):
        first.train()

    def crash(step):
        raise MemoryError

    with pytest.raises(MemoryError):  # evaluates step 6, then dies before anything is saved
        Fake(tmp_path, crash).train()
    Fake(tmp_path).train()
    assert outcome(tmp_path) == outcome(whole[0])


def test_an_initialisation_is_left_at_a_signal_and_done_again(tmp_path, whole):
    first = Fake(tmp_path)
    first._during_enter = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 6 else None
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert last(tmp_path)["step"] == 6
    second = Fake(tmp_path)
    second.train()
    assert second.seen[0] == 6
    assert outcome(tmp_path) == outcome(whole[0])


def test_a_second_signal_stops_at_once(tmp_path):
    def at(step):
        if step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    fake = Fake(tmp_path, at)
    with pytest.raises(KeyboardInterrupt):
        fake.train()
    assert fake.seen[-1] == 5
    assert last(tmp_path)["step"] == 6


def test_a_signal_between_saving_and_asking_loses_no_step(tmp_path, monkeypatch, whole):
    real = loop.save

    def save(run, progress, log):
        real(run, progress, log)
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "save", save)
    with pytest.raises(KeyboardInterrupt):
        Fake(tmp_path).train()
    monkeypatch.undo()
    assert last(tmp_path)["step"] == 5  # in the evaluation's place the signal is obeyed at once
    Fake(tmp_path).train()
    assert outcome(tmp_path) == outcome(whole[0])


def test_an_error_leaves_the_last_checkpoint_and_the_signal_handlers(tmp_path):
    def at(step):
        if step == 8:
            raise NonFiniteLossError("step 8: the loss is not finite")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(NonFiniteLossError):
        Fake(tmp_path, at).train()
    assert signal.getsignal(signal.SIGTERM) == before
    assert checkpoint_io.read(tmp_path / "checkpoints/last.ckpt")[1]["step"] == 6


def test_a_full_disk_is_one_line_and_the_run_continues_later(tmp_path, monkeypatch, whole):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left"):
        Fake(tmp_path, lambda step: patch.setattr(checkpoint_io.os, "fsync", full) if step == 8 else None).train()
    Fake(tmp_path).train()
    assert outcome(tmp_path) == outcome(whole[0])


def test_a_checkpoint_is_written_after_so_many_minutes_too(tmp_path, monkeypatch):
    clock = itertools.count(0, 25)  # seconds between two looks
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(clock), perf_counter=time.perf_counter))
    steps = []
    real = loop.save

    def save(run, progress, log):
        steps.append(progress.step)
        real(run, progress, log)

    monkeypatch.setattr(loop, "save", save)
    Fake(tmp_path, every=100, every_minutes=1.0, evaluate=False).train()
    assert steps == [3, 6, 9, 12]  # saving looks at the clock as well


def test_images_that_were_skipped_are_named_and_counted(tmp_path):
    fake = Fake(tmp_path, evaluate=False)
    found = {2: ["a.jpg: broken", "b.jpg: gone"], 6: ["a.jpg: broken"]}
    fake.run = replace(fake.run, skipped=lambda: found.get(fake.seen[-1], []))
    assert fake.train().skipped == 3
    log = (tmp_path / "log.txt").read_text()
    assert "step 2: skipped an image: b.jpg: gone" in log
    assert [record.get("skipped", 0) for record in records(tmp_path)] == [2, 3, 3]
