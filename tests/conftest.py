"""Tiny models built in code and one finished smoke run, for every test."""

import fcntl
import gc
import importlib.util
import os
import shutil

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Python starts some hundred times: libraries are compiled once
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from posttrain.corpus.types import Example
from posttrain.model import checkpoint
from posttrain.model.chat_format import LLAMA3, ChatFormat
from posttrain.model.frame_table import FrameTable
from posttrain.model.speech_llama import SpeechLlama
from posttrain.model.tiny_tokenizer import train_tokenizer
from posttrain.model.tokenizer import SpeechTokenizer

ENCODER_DIM = 12
FIRST = ("test_notebooks.py", "test_docs.py", "test_streams.py", "test_runner.py", "test_seeds_command.py")
"""The slowest files: one worker begins with the notebooks, and so with the smoke run, while the other needs none."""


def pytest_configure(config: pytest.Config) -> None:
    """Files are distributed in the order of FIRST, not by their numbers of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the many garbage collections of the stages need not look through it."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def script(path: str) -> ModuleType:
    """A file of the project that is no part of the package, such as docs/picture.py, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parent.parent / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def byte_tokenizer(form: ChatFormat = LLAMA3) -> SpeechTokenizer:
    """Bytes and a chat format's special tokens."""
    return train_tokenizer([], 256 + len(form.special), form)


def tiny_llama(tokenizer: SpeechTokenizer, tie: bool = False) -> LlamaForCausalLM:
    """Two layers of Llama 3.1's shape: grouped queries, llama3 RoPE scaling; V is larger than the tokenizer."""
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 3,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 512,
        },
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=tie,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    with torch.no_grad():  # untrained weights of 0.02 would hide differences below any tolerance
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model.eval()


def frame_table(clips: int = 4) -> FrameTable:
    """Clips test/0, test/1, … of 3, 7, 11, … frames."""
    generator = torch.Generator().manual_seed(1)
    counts = [3 + 4 * i for i in range(clips)]
    frames = torch.randn(sum(counts), ENCODER_DIM, generator=generator)
    starts = [sum(counts[:i]) for i in range(clips)]
    return FrameTable(frames, {f"test/{i}": span for i, span in enumerate(zip(starts, counts, strict=True))})


def example(clip: str | None = "test/1", text: str = "turn it up", answer: str = "ok", id: str = "e0") -> Example:
    """One chat turn, spoken unless `clip` is None."""
    return Example(id, "test", "repeat", "repeat", text, clip, answer, "exact")


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory, worker_id) -> Path:
    """A finished run of the smoke recipe, made once for all workers; copy it to change it.

    SMOKE_RUN may name one that `make smoke` has just made: then it is a copy of that, where the code is still the same.
    """
    from posttrain.config.recipe import load_recipe
    from posttrain.run import runner

    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent
    folder = root / "runs_for_all" / "smoke"
    with (root / "smoke_run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if "SMOKE_RUN" in os.environ and not folder.exists():
            shutil.copytree(os.environ["SMOKE_RUN"], folder)
        runner.run(load_recipe("smoke"), folder, fresh_code=True)
    return folder


@pytest.fixture
def tokenizer() -> SpeechTokenizer:
    return byte_tokenizer()


@pytest.fixture
def table() -> FrameTable:
    return frame_table()


@pytest.fixture
def base_folder(tmp_path, tokenizer):
    """A base as the base stage leaves it."""
    checkpoint.save_base(tmp_path / "base", tiny_llama(tokenizer), tokenizer)
    return tmp_path / "base"


@pytest.fixture
def llama(base_folder, table, tmp_path) -> SpeechLlama:
    """A Llama that hears, its projector as large as the word embeddings; nothing trained yet."""
    return checkpoint.create(base_folder, tmp_path / "ctc", table, stack=3)
