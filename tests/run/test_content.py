"""A stage's key hashes what it reads: recordings, manifests, cards, adapters, audiograms, models."""

import dataclasses
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from posttrain.config import assets
from posttrain.config.recipe import load_recipe, with_stage
from posttrain.run import content
from posttrain.run.graph import corpus_key, nodes

CARD = {
    "name": "clinic",
    "title": "Recordings",
    "kind": "speech",
    "manifest": "manifest.csv",
    "use": {"train": {"split": "train"}, "test": {"split": "test"}},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Hashes are kept in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "posttrain" / "hashes.json"


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """The package's cards, with one more, to change."""
    for kind in ("adapters", "data"):
        (tmp_path / kind).mkdir()
        for path in assets.folder(kind).glob("*.yaml"):
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    (tmp_path / "data" / "clinic.yaml").write_text(yaml.safe_dump(CARD))
    monkeypatch.setattr(assets, "folder", lambda kind: tmp_path / kind)
    return tmp_path


def record(folder: Path, amplitude: float = 0.3) -> Path:
    """A manifest of two recordings of a second."""
    folder.mkdir(parents=True, exist_ok=True)
    tone = (amplitude * np.sin(np.arange(16_000) / 9)).astype(np.float32)
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, tone, 16_000)
    manifest = folder / "manifest.csv"
    manifest.write_text("path,text,split,speaker\na.wav,turn it up,train,x\nb.wav,turn it down,test,y\n")
    return manifest


def silence(path: Path, keep_time: bool) -> None:
    """Other samples under the same name, of the same size, with the same time of modification where that is kept."""
    before = path.stat()
    soundfile.write(path, np.zeros(16_000, np.float32), 16_000)
    assert path.stat().st_size == before.st_size
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns


def settle(*paths: Path) -> None:
    """Wait until the files are old enough for their hashes to be kept."""
    time.sleep(content.SETTLED_S + 0.1)
    assert all(time.time() - path.stat().st_ctime > content.SETTLED_S for path in paths)


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_recording_replaced_by_silence_changes_the_corpus_and_every_stage(bundle, cache, keep_time):
    record(bundle / "root" / "clinic")
    recipe = load_recipe("smoke", [f"corpus.data_root={bundle / 'root'}", "corpus.sources=[clinic]"])
    before, keys = corpus_key(recipe), [node.key for node in nodes(recipe)]
    assert corpus_key(recipe) == before and not cache.is_file()  # just written: not kept
    settle(bundle / "root" / "clinic" / "a.wav")
    assert corpus_key(recipe) == before and len(json.loads(cache.read_text())) == 2
    silence(bundle / "root" / "clinic" / "a.wav", keep_time)
    assert corpus_key(recipe) != before
    assert all(now.key != then for now, then in zip(nodes(recipe), keys, strict=True))


def test_a_kept_hash_is_used_while_nothing_has_changed(bundle, cache):
    manifest = record(bundle / "root" / "clinic")
    settle(manifest)
    (right,) = content.hashes([manifest])
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({place: [*state[:-1], "from the cache"] for place, state in kept.items()}))
    assert content.hashes([manifest]) == ["from the cache"]
    cache.write_text("{broken")
    assert content.hashes([manifest, manifest.with_name("none")]) == [right, None]


@pytest.mark.parametrize("change", ["manifest", "card", "recording gone"])
def test_the_manifest_the_card_and_missing_recordings_are_in_the_key(bundle, change):
    manifest = record(bundle / "root" / "clinic")
    recipe = load_recipe("smoke", [f"corpus.data_root={bundle / 'root'}", "corpus.sources=[clinic]"])
    before = corpus_key(recipe)
    card = bundle / "data" / "clinic.yaml"
    card.write_text(yaml.safe_dump(CARD | {"title": "Reworded"}))
    assert corpus_key(recipe) == before
    if change == "manifest":
        manifest.write_text(manifest.read_text().replace("it up", "it off"))
    elif change == "card":
        card.write_text(yaml.safe_dump(CARD | {"use": {"train": {"split": "test"}, "test": {"split": "train"}}}))
    else:
        (manifest.parent / "b.wav").unlink()
    assert corpus_key(recipe) != before


def test_the_same_recordings_elsewhere_are_the_same_corpus(bundle):
    record(bundle / "root" / "clinic")
    record(bundle / "moved" / "clinic")
    keys = {
        corpus_key(load_recipe("smoke", [f"corpus.data_root={bundle / root}", "corpus.sources=[clinic]"]))
        for root in ("root", "moved")
    }
    assert len(keys) == 1


@pytest.mark.parametrize("change", ["recording", "manifest", "audiogram"])
def test_a_persons_recordings_and_audiogram_are_in_the_key_of_personalise_alone(bundle, change):
    manifest = record(bundle / "person")
    listener = bundle / "listener.csv"
    listener.write_text("listener,ear,hz500,hz1000,hz2000,hz4000\nme,l,20,20,30,40\nme,r,20,20,30,40\n")
    changes = [f"personalise.manifest={manifest}", f"personalise.listener={listener}:me"]
    recipe = with_stage(load_recipe("smoke", changes), "personalise")
    before = {node.name: node.key for node in nodes(recipe)}
    if change == "recording":
        silence(manifest.parent / "a.wav", keep_time=True)
    elif change == "manifest":
        manifest.write_text(manifest.read_text().replace("down", "off"))
    else:
        listener.write_text(listener.read_text().replace("40", "45"))
    after = {node.name: node.key for node in nodes(recipe)}
    assert {name for name in after if after[name] != before[name]} == {"personalise"}


def test_an_adapters_file_is_in_the_key_of_what_it_trains(bundle):
    before = {node.name: node.key for node in nodes(load_recipe("smoke"))}
    path = bundle / "adapters" / "lora.yaml"
    card = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(card | {"summary": "Reworded."}))
    assert {node.name: node.key for node in nodes(load_recipe("smoke"))} == before
    path.write_text(yaml.safe_dump(card | {"dropout": 0.5}))
    after = {node.name: node.key for node in nodes(load_recipe("smoke"))}
    assert {name for name in after if after[name] != before[name]} == {"sft", "reward", "dpo", "grpo"}


def test_a_local_models_weights_are_in_the_key(tmp_path):
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text("{}")
    (tmp_path / "llama" / "model.safetensors").write_bytes(b"weights")
    recipe = load_recipe("smoke", [f"base.model={tmp_path / 'llama'}"])
    before = nodes(recipe)[0].key
    (tmp_path / "llama" / "README.md").write_text("about")
    assert nodes(recipe)[0].key == before
    (tmp_path / "llama" / "model.safetensors").write_bytes(b"WEIGHTS")
    assert nodes(recipe)[0].key != before
    assert nodes(dataclasses.replace(recipe, base=load_recipe("smoke").base))[0].key != before


def test_a_large_file_is_sampled_and_other_weights_differ(tmp_path, monkeypatch):
    from posttrain.model import origin

    monkeypatch.setattr(origin, "WHOLE", 1000)
    monkeypatch.setattr(origin, "SAMPLE", 64)
    path = tmp_path / "model.safetensors"
    weights = np.random.default_rng(0).bytes(5000)
    path.write_bytes(weights)
    before = origin.model_hash(tmp_path)
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    assert origin.model_hash(tmp_path) != before
    path.write_bytes(weights)
    assert origin.model_hash(tmp_path) == before
    path.write_bytes(weights[:-1] + b"x")
    assert origin.model_hash(tmp_path) != before
