"""What a stage is given, all of it named by the caller."""

from dataclasses import dataclass
from pathlib import Path

from posttrain.corpus.store import Corpus
from posttrain.model.frame_table import FrameTable


@dataclass(frozen=True)
class StageContext:
    """No hidden inputs: a stage reads its config, this, and nothing else."""

    seed: int
    """Of everything random in the stage."""
    device: str
    """cpu or cuda."""
    folder: Path
    """Empty; the checkpoint is written here."""
    parents: dict[str, Path]
    """Role → checkpoint folder."""
    corpus: Corpus
    """What is said and asked."""
    table: FrameTable | None = None
    """The frozen encoder's frames of every clip; None before there is an encoder."""
    report_to: tuple[str, ...] = ()
    """Where training curves go."""
    logs: Path | None = None
    """TensorBoard folder."""
