"""Process a recording as a hearing aid would: enhance it and, with an audiogram, fit it; whole or as a stream."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE
from posttrain.config.stage_table import spec_of
from posttrain.errors import InputError, collecting
from posttrain.use import outputs

if TYPE_CHECKING:
    import numpy as np

    from posttrain.acoustics.audiogram import Audiogram, Ear
    from posttrain.acoustics.enhancer import Enhancer
    from posttrain.acoustics.fitting import NALR, Compressor, Stream

Compression = Literal["none", "slow", "fast"]
DEFAULT_RUN = Path("runs/tiny")
DECIMALS = 2
LONG_SAMPLES, BLOCK = 60 * SAMPLE_RATE, 5 * SAMPLE_RATE


@dataclass(frozen=True)
class Aid:
    """An enhancer and, with an audiogram, the compression and the gain after it."""

    checkpoint: Path
    """The enhancer's folder."""
    audiogram: "Audiogram"
    """Normal hearing if none is given."""
    ear: "Ear"
    """Which ear it works for."""
    enhancer: "Enhancer"
    fitting: "NALR | None"
    """None for normal hearing: no gain."""
    denoise: float = 1.0
    """Strength of the enhancement, 0 to 1."""
    compressor: "Compressor | None" = None
    """Before the gain, since it goes by the levels of the sounds around; it adds no delay."""

    @property
    def latency_ms(self) -> dict[str, float]:
        """Latency of enhancer, fitting and both together, as the code of each computes it."""
        parts = {"enhancer": self.enhancer.latency_ms, "fitting": self.fitting.delay_ms if self.fitting else 0.0}
        return parts | {"total": sum(parts.values())}

    def apply(self, waveform: "np.ndarray") -> "np.ndarray":
        """Process a whole recording, (S,) → (S,); a long one in blocks, which gives the same samples."""
        import numpy as np
        import torch

        if len(waveform) > LONG_SAMPLES:
            cut = (waveform[first : first + BLOCK] for first in range(0, len(waveform), BLOCK))
            return np.concatenate(list(self._stream(cut)))
        enhanced = self.enhancer.enhance(waveform, self.audiogram.levels(self.ear), self.denoise)
        return self._fit()(torch.from_numpy(enhanced)[None])[0].numpy()

    def blocks(self, blocks: "Iterable[np.ndarray]", samples: int) -> "Iterator[np.ndarray]":
        """Process a recording of about `samples` samples in blocks; the total length stays the same."""
        import numpy as np

        if samples <= LONG_SAMPLES:
            yield self.apply(np.concatenate(list(blocks)))
            return
        yield from self._stream(blocks)

    def stream(self, waveform: "np.ndarray") -> "np.ndarray":
        """The same as `apply`, hop by hop as from a microphone."""
        import numpy as np

        from posttrain.acoustics.enhancer import HOP

        return np.concatenate(list(self._stream(waveform[i : i + HOP] for i in range(0, len(waveform), HOP))))

    def _stream(self, blocks: "Iterable[np.ndarray]") -> "Iterator[np.ndarray]":
        import torch

        stream = self.enhancer.stream(torch.from_numpy(self.audiogram.levels(self.ear)).float(), self.denoise)
        fit = self._fit()
        for block in blocks:
            yield fit(stream.push(torch.from_numpy(block))[None])[0].numpy()
        yield fit(stream.flush()[None])[0].numpy()

    def _fit(self) -> "Stream":
        """Compression and gain of a new stream."""
        steps = [module.stream() for module in (self.compressor, self.fitting) if module]
        return lambda samples: reduce(lambda sound, step: step(sound), steps, samples)


def enhance(
    source: Path,
    target: Path,
    checkpoint: Path | None = None,
    audiogram: str | None = None,
    ear: "Ear | None" = None,
    denoise: float = 1.0,
    stream: bool = False,
    dry_run: bool = False,
    compression: Compression = "none",
) -> dict[str, Any]:
    """Enhance one file into another (WAV, 32-bit float, 16 kHz); returns levels, latency_ms, rtf and the settings.

    Raises InputError that lists all problems of files, checkpoint and audiogram.
    """
    from posttrain.corpus import audio

    problems: list[str] = []
    waveform = None
    try:
        waveform = audio.audio(source, 1)
    except ValueError as error:
        problems.append(f"{source}: {error}")
    if target.suffix.lower() != ".wav" or target.is_dir() or not target.absolute().parent.is_dir():
        problems.append(f"OUT is {target}, expected a .wav file in a folder that is there")
    elif outputs.same(target, source):
        problems.append(f"IN and OUT are both {source}; name another OUT")
    aid = build(checkpoint, audiogram, ear, denoise, problems, compression)
    if problems or aid is None or waveform is None:
        raise InputError(problems)
    used: dict[str, Any] = {"in": str(source), "out": str(target), "checkpoint": str(aid.checkpoint)}
    used |= {"audiogram": aid.audiogram.name, "ear": aid.ear, "denoise": denoise, "stream": stream}
    used |= {"compression": compression}
    used |= {"latency_ms": round(aid.latency_ms["total"], DECIMALS)}
    used |= {"latency_parts_ms": {part: round(ms, DECIMALS) for part, ms in aid.latency_ms.items() if part != "total"}}
    if dry_run:
        return used
    clock = time.perf_counter()
    out = aid.stream(waveform) if stream else aid.apply(waveform)
    took = time.perf_counter() - clock
    _write(target, out)
    duration = len(waveform) / SAMPLE_RATE
    levels = {"in_db_spl": _level(waveform), "out_db_spl": _level(out)}
    return used | {"levels": levels, "rtf": round(took / duration, 4), "duration_s": round(duration, 3)}


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
    with collecting(problems):
        checkpoint = checkpoint or newest()
        if not (checkpoint / "enhancer.json").is_file():
            raise InputError(
                f"{checkpoint} holds no enhancer (no enhancer.json); name the folder of a finished enhance stage"
            )
    if problems or hearing is None or checkpoint is None:
        return None
    from posttrain.acoustics import enhancer  # loads torch, so only if nothing is wrong so far
    from posttrain.acoustics.fitting import NALR, Compressor

    try:
        model = enhancer.load(checkpoint)
    except InputError as error:
        problems += error.problems
        return None
    ear = ear or hearing.better_ear
    gain = NALR(hearing, ear) if audiogram else None
    compressor = None if compression == "none" else Compressor(hearing, ear, compression)
    return Aid(checkpoint, hearing, ear, model, gain, denoise, compressor)


def newest() -> Path:
    """The checkpoint of the newest finished `enhance` stage of run tiny; InputError if there is none."""
    from posttrain.run import ledger, place

    rows = [row for row in ledger.read(DEFAULT_RUN / "ledger.jsonl") if spec_of(str(row.config.get("stage"))).aside]
    if not rows:
        raise InputError(
            f"{DEFAULT_RUN} has no finished enhance stage; run `make enhance`, or name another run's, such as "
            "runs/mine/enhance (`transcribe --enhancer`, `enhance --checkpoint`)"
        )
    row = max(rows, key=lambda row: row.started)
    return place.of_row(DEFAULT_RUN, row) or Path(row.checkpoint)


def _level(waveform: "np.ndarray") -> float:
    """Level in dB SPL, without pauses."""
    import torch

    from posttrain.acoustics.levels import active_level

    return round(float(active_level(torch.from_numpy(waveform))), DECIMALS)


def _write(target: Path, waveform: "np.ndarray") -> None:
    """Write float samples: an aid's gain may exceed ±1, and nothing may be clipped."""
    import soundfile

    with files.beside(target) as partial:
        soundfile.write(str(partial), waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")
