"""Everything a stage is given, passed explicitly by the caller."""

from dataclasses import dataclass
from pathlib import Path

from posttrain.corpus.store import Corpus
from posttrain.model.frame_table import FrameTable


@dataclass(frozen=True)
class StageContext:
    """Inputs of a stage; it reads its config, this, and nothing else."""

    seed: int
    """Seed of everything random in the stage."""
    device: str
    """cpu or cuda."""
    folder: Path
    """Empty folder; the checkpoint is written here."""
    parents: dict[str, Path]
    """Role → checkpoint folder."""
    corpus: Corpus
    """Clips, examples and items."""
    table: FrameTable | None = None
    """The frozen encoder's frames of every clip; None before there is an encoder."""
    report_to: tuple[str, ...] = ()
    """Where training curves are reported."""
    logs: Path | None = None
    """TensorBoard folder."""
    stopped: Path | None = None
    """Where a training that takes long keeps its state, so that it goes on after a stop; may not be there yet."""
