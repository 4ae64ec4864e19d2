"""Process a recording as a hearing aid would: enhance it and, with an audiogram, fit it; whole or as a stream.

Sounds are (S,), or the channels of one recording, (C, S). Channels share the enhancer's mask and the compressor's gain,
so that the direction of sounds survives, and all get the gain for the aid's one ear.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from posttrain.acoustics import SAMPLE_RATE
from posttrain.config import assets
from posttrain.errors import InputError, collecting
from posttrain.machine.streams import visible

if TYPE_CHECKING:
    import numpy as np
    import torch

    from posttrain.acoustics.audiogram import Audiogram, Ear
    from posttrain.acoustics.enhancer import Enhancer
    from posttrain.acoustics.fitting import NALR, Compressor
    from posttrain.acoustics.peers import Peer

FIGURES = "figures.json"
"""An exported enhancer's figures by name, as in its stage's row."""
Compression = Literal["none", "slow", "fast"]
PEERS = ("wiener", "rnnoise", "deepfilternet3")
"""The names in `acoustics.peers`."""
LONG_SAMPLES, BLOCK = 60 * SAMPLE_RATE, 5 * SAMPLE_RATE


@dataclass(frozen=True)
class Aid:
    """An enhancer and, with an audiogram, the compression and the gain after it."""

    checkpoint: Path
    """The enhancer's folder, or a peer's name."""
    audiogram: "Audiogram"
    """Normal hearing if none is given."""
    ear: "Ear"
    """Which ear it works for."""
    enhancer: "Enhancer | Peer"
    fitting: "NALR | None"
    """None for normal hearing: no gain."""
    denoise: float = 1.0
    """Strength of the enhancement, 0 to 1."""
    compressor: "Compressor | None" = None
    """Before the gain, since it goes by the levels of the sounds around; it adds no delay."""

    @property
    def folder(self) -> Path | None:
        """The enhancer's folder; None for a peer."""
        from posttrain.acoustics.peers import Peer

        return None if isinstance(self.enhancer, Peer) else self.checkpoint

    @property
    def identity(self) -> str:
        """What decides its output besides its settings: the content of enhancer.json, or a peer's name and version."""
        from posttrain.acoustics.peers import Peer

        if isinstance(self.enhancer, Peer):
            return self.enhancer.identity
        return (self.checkpoint / "enhancer.json").read_text(encoding="utf-8")

    @property
    def latency_ms(self) -> dict[str, float]:
        """Latency of enhancer, fitting and both together, as the code of each computes it."""
        parts = {"enhancer": self.enhancer.latency_ms, "fitting": self.fitting.delay_ms if self.fitting else 0.0}
        return parts | {"total": sum(parts.values())}

    def apply(self, waveform: "np.ndarray") -> "np.ndarray":
        """Process a whole recording; a long one in blocks, which gives the same samples."""
        import numpy as np
        import torch

        if waveform.shape[-1] > LONG_SAMPLES:
            return np.concatenate(list(self._stream(_cut([waveform], BLOCK))), axis=-1)
        enhanced = self.enhancer.enhance(waveform, self.audiogram.levels(self.ear), self.denoise)
        return self._fit()(torch.from_numpy(enhanced))

    def blocks(self, blocks: "Iterable[np.ndarray]", samples: int, hop_by_hop: bool = False) -> "Iterator[np.ndarray]":
        """Process a recording of about `samples` samples in blocks; the total length stays the same.

        hop_by_hop: as `stream` does.
        """
        import numpy as np

        from posttrain.acoustics.bands import HOP

        if hop_by_hop:
            yield from self._stream(_cut(blocks, HOP))
        elif samples <= LONG_SAMPLES:
            yield self.apply(np.concatenate(list(blocks), axis=-1))
        else:
            yield from self._stream(blocks)

    def stream(self, waveform: "np.ndarray") -> "np.ndarray":
        """The same as `apply`, hop by hop as from a microphone."""
        import numpy as np

        return np.concatenate(list(self.blocks([waveform], waveform.shape[-1], hop_by_hop=True)), axis=-1)

    def _stream(self, blocks: "Iterable[np.ndarray]") -> "Iterator[np.ndarray]":
        import torch

        stream = self.enhancer.stream(torch.from_numpy(self.audiogram.levels(self.ear)).float(), self.denoise)
        fit = self._fit()
        for block in blocks:
            yield fit(stream.push(torch.from_numpy(block)))
        yield fit(stream.flush())

    def _fit(self) -> "Callable[[torch.Tensor], np.ndarray]":
        """Compression and gain of a new stream."""
        import torch

        steps = [self.compressor.stream(together=True)] if self.compressor else []
        steps += [self.fitting.stream()] if self.fitting else []

        def fit(sound: torch.Tensor) -> "np.ndarray":
            rows = torch.atleast_2d(sound)  # (C, S)
            return reduce(lambda fitted, step: step(fitted), steps, rows).reshape(sound.shape).numpy()

        return fit


def build(
    checkpoint: Path | None,
    audiogram: str | None,
    ear: "Ear | None",
    denoise: float,
    problems: list[str],
    compression: Compression = "none",
) -> Aid | None:
    """The requested aid; None if a part of it is missing or wrong, with the reasons added to `problems`."""
    from posttrain.acoustics import audiogram as audiograms

    hearing = None
    if compression != "none" and not audiogram:
        problems.append(f"--compression {compression} is for a hearing loss; add --audiogram, or leave it out")
    with collecting(problems):
        hearing = audiograms.find(audiogram) if audiogram else audiograms.normal()
    peer = None
    with collecting(problems):
        checkpoint = checkpoint or default()
        if not (checkpoint / "enhancer.json").is_file() and not (peer := _peer(checkpoint)):
            raise InputError(
                f"{checkpoint} holds no enhancer (no enhancer.json); name the folder of a finished enhance stage,"
                " or wiener, rnnoise or deepfilternet3"
            )
    if problems or hearing is None or checkpoint is None:
        return None
    from posttrain.acoustics import enhancer  # loads torch, so only if nothing is wrong so far
    from posttrain.acoustics.fitting import NALR, Compressor

    try:
        model = peer or enhancer.load(checkpoint)
    except InputError as error:
        problems += error.problems
        return None
    ear = ear or hearing.better_ear
    gain = NALR(hearing, ear) if audiogram else None
    compressor = None if compression == "none" else Compressor(hearing, ear, compression)
    return Aid(checkpoint, hearing, ear, model, gain, denoise, compressor)


def words_lost(checkpoint: Path) -> list[str]:
    """Conditions in which a model surely made more word errors behind this enhancer, as far as that was measured.

    Read from the figures beside it: those of its stage (`make listeners`) or of an exported folder.
    """
    lost: dict[str, str] = {}
    for file in (FIGURES, "metrics.json"):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            found = json.loads((checkpoint / file).read_text(encoding="utf-8"))
            for name, metric in found.get("metrics", found).items():
                kind, _, condition = name.partition("/")
                if kind in ("wer_enhanced", "wer_real_enhanced") and "delta_without_ci95" in metric:
                    low, high = metric["delta_without_ci95"]
                    points = [f"{100 * value:.1f}" for value in (metric["delta_vs_without"], low, high)]
                    if low > 0:
                        lost[condition] = f"{condition} +{points[0]} points [{points[1]}, {points[2]}]"
    return [visible(said) for said in lost.values()]


def _peer(name: Path) -> "Peer | None":
    """The peer of that name, if there is one; InputError if its package is not installed."""
    if str(name) not in PEERS:
        return None
    from posttrain.acoustics import peers  # loads torch

    return peers.find(str(name))


def default() -> Path:
    """The enhancer that comes with the project."""
    return assets.folder("adapters") / "enhancer"


def _cut(blocks: "Iterable[np.ndarray]", samples: int) -> "Iterator[np.ndarray]":
    """The blocks in pieces of at most so many samples."""
    return (block[..., i : i + samples] for block in blocks for i in range(0, block.shape[-1], samples))
