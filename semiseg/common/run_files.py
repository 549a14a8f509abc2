"""What lies where in the folder of a run: the names that training writes under, and others read."""

from dataclasses import dataclass
from pathlib import Path

RESOLVED = "config.resolved.yaml"


@dataclass(frozen=True)
class RunFiles:
    """The files of the run in ``folder``; none needs to be there. ``snapshot_dir``: saver.snapshot_dir."""

    folder: Path
    snapshot_dir: str = "checkpoints"

    @property
    def resolved(self) -> Path:
        """What the run has used: it holds every key."""
        return self.folder / RESOLVED

    @property
    def metrics(self) -> Path:
        """Numbers, one JSON object a line."""
        return self.folder / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """What was said."""
        return self.folder / "log.txt"

    @property
    def events(self) -> Path:
        """Folder of TensorBoard's files."""
        return self.folder / "events"

    @property
    def lists(self) -> Path:
        """Folder of the ids of each part."""
        return self.folder / "lists"

    def list_of(self, part: str) -> Path:
        """The ids of a part: labeled, unlabeled or val."""
        return self.lists / f"{part}.txt"

    @property
    def mask_prints(self) -> Path:
        """Fingerprints of the masks that were learnt from and scored."""
        return self.lists / "masks.json"

    @property
    def evaluation(self) -> Path:
        """What the report has scored."""
        return self.folder / "evaluation.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / self.snapshot_dir

    @property
    def last(self) -> Path:
        """The checkpoint that a run goes on from."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """The best network so far, alone."""
        return self.checkpoints / "best.ckpt"

    def kept(self, step: int) -> Path:
        """An earlier last.ckpt, of so many steps."""
        return self.checkpoints / f"step_{step:08d}.ckpt"

    def older(self) -> list[Path]:
        """The earlier ones that are there, newest first."""
        return sorted(self.checkpoints.glob("step_*.ckpt"), reverse=True)
