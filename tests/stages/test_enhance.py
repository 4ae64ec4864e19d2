"""The enhance stage at toy size: what moves, what it writes, what the runner makes of it; its losses by hand."""

import copy
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from posttrain.acoustics import enhancer
from posttrain.acoustics.drawn import Drawn
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.config.recipe import load_recipe, with_stage
from posttrain.config.sections import EnhanceConfig
from posttrain.corpus.store import Corpus
from posttrain.errors import InputError
from posttrain.evals.hearing import enhancement
from posttrain.evals.standalone import evaluate_checkpoint
from posttrain.machine import threads
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders import parakeet
from posttrain.run import ledger, runner
from posttrain.run.graph import nodes
from posttrain.stages import enhance
from posttrain.stages.training import enhance_data, enhance_losses, pieces
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.enhance_losses import (
    Critic,
    Recogniser,
    adversarial_loss,
    critic_loss,
    distance,
    sdr,
    spectral,
)

TOY = "enhance.width=16 enhance.sub_width=8 enhance.steps=4 enhance.batch_size=2 enhance.segment_s=0.5 enhance.noises=6"

HL = enhance_data.listener("N5").levels()


@pytest.fixture(scope="module", autouse=True)
def few_clips():
    """Measured on some clips: on all of them it takes most of this file's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enhancement, "CLIPS", 10)
        patch.setattr(enhance_data, "VALID_CLIPS", 2)
        yield


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("smoke", ["report_to=[]", *TOY.split()])


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "toy"
    return folder, runner.run(recipe, folder, until="enhance")


def context(folder, corpus: Corpus, seed: int = 0) -> StageContext:
    folder.mkdir()
    return StageContext(seed=seed, device="cpu", folder=folder, parents={}, corpus=corpus)


def test_it_needs_the_corpus_alone_and_leaves_a_row_and_its_files(finished):
    folder, rows = finished
    assert [row.stage for row in rows] == ["enhance"]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"corpus", "enhance"}
    written = {path.name for path in (folder / "enhance").iterdir()}
    assert written == {
        "enhancer.safetensors", "enhancer.json", "answers.jsonl", "config.yaml", "metrics.json", "trained.json"
    }  # fmt: skip
    assert rows[0].parents == {} and rows[0].config["references"] == {}


def test_the_row_says_gains_with_intervals_switch_ears_bad_clips_and_costs(finished):
    _, [row] = finished
    for name in ("si_sdr_gain/made/snr0", "si_sdr_gain/made/snr20", "ear_gain/made/N3", "stoi_gain/made/snr0"):
        metric = row.metrics[f"enhance/{name}"]
        assert metric["n"] >= 8 and metric["speakers"] > 1
        assert metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
    assert row.metrics["enhance/clean/made/off"]["value"] > 60
    assert row.metrics["enhance/clean/made/on"]["value"] < 60
    assert row.metrics["enhance/bad_clips"]["value"] == 0
    assert row.metrics["cost/latency_ms"]["value"] <= 8
    assert row.metrics["cost/rtf"]["value"] > 0
    assert row.train_metrics["steps"] == 4 and "critic_last" in row.train_metrics


def test_a_finished_stage_is_not_made_again_and_a_lost_evaluation_is_alone(recipe, finished):
    folder, rows = finished
    weights = (folder / "enhance" / "enhancer.safetensors").stat().st_mtime_ns
    assert [s.action for s in runner.plan(recipe, folder, until="enhance")] == ["done", "done"]
    (folder / "enhance" / "metrics.json").unlink()
    assert [s.action for s in runner.plan(recipe, folder, until="enhance")] == ["done", "evaluate"]
    again = runner.run(recipe, folder, until="enhance")
    assert (folder / "enhance" / "enhancer.safetensors").stat().st_mtime_ns == weights
    kept = {n: m for n, m in rows[0].metrics.items() if not n.startswith("cost/")}
    assert {n: m for n, m in again[0].metrics.items() if not n.startswith("cost/")} == kept


def test_it_can_be_measured_again_but_takes_no_probes(finished, tmp_path, monkeypatch):
    folder, [row] = finished
    monkeypatch.setattr(enhancement, "CLIPS", 3)
    again = evaluate_checkpoint(folder / "enhance", "cpu")
    assert again["enhance/si_sdr_gain/made/snr0"]["n"] == 3
    names = {name for name in row.metrics if name.startswith("enhance/")}
    assert again.keys() >= {name for name in names if "noise_gain" not in name}  # three clips meet three noises
    with pytest.raises(InputError, match="answers nothing"):
        evaluate_checkpoint(folder / "enhance", "cpu", tmp_path / "probes.jsonl")


def test_it_stands_aside_of_the_others_whose_keys_and_plans_stay(recipe):
    plain = nodes(recipe)
    assert "enhance" not in [node.name for node in plain]
    beside = nodes(with_stage(recipe, "enhance"))
    assert beside[:-1] == plain and beside[-1].spec.aside
    changed = nodes(load_recipe("smoke", ["report_to=[]", "enhance.steps=9"]))
    assert [node.key for node in changed] == [node.key for node in plain]


def test_the_other_stages_may_run_beside_a_finished_enhancer(recipe, finished, tmp_path):
    folder, _ = finished
    steps = runner.plan(recipe, folder)
    assert [s.action for s in steps] == ["done"] + ["run"] * 8
    assert [row.stage for row in ledger.read(folder / "ledger.jsonl")] == ["enhance"]


def test_training_moves_every_weight_and_a_seed_is_one_result_on_any_number_of_cores(finished, tmp_path, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(pieces, "PIECE", 1)
    corpus = Corpus.load(folder / "corpus")
    config = EnhanceConfig(width=16, sub_width=8, steps=3, batch_size=2, segment_s=0.5, noises=6)
    made = [context(tmp_path / name, corpus, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    metrics = []
    for cores, one in zip((1, 2, 2), made, strict=True):
        monkeypatch.setattr(threads, "ThreadPoolExecutor", lambda _, n=cores, **more: ThreadPoolExecutor(n, **more))
        metrics.append(enhance.run(config, one))
    first, again, other = (load_file(one.folder / "enhancer.safetensors") for one in made)
    torch.manual_seed(0)
    before = Enhancer(EnhancerSpec(16, 8)).state_dict()
    assert first.keys() == before.keys()
    assert all(not torch.equal(first[name], before[name]) for name in first)
    assert all(torch.equal(first[name], again[name]) for name in first) and metrics[0] == metrics[1]
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert metrics[0]["trainable_params"] == sum(t.numel() for t in first.values())


def test_an_unconditioned_control_does_not_heed_the_audiogram(finished, tmp_path):
    corpus = Corpus.load(finished[0] / "corpus")
    config = EnhanceConfig(
        width=16, sub_width=8, steps=2, batch_size=2, segment_s=0.5, noises=6, conditioned=False, adversarial_weight=0.0
    )
    made = context(tmp_path / "control", corpus)
    assert "critic_last" not in enhance.run(config, made)
    control = enhancer.load(made.folder)
    waveform = corpus.audio(enhance_data.clean_speech(corpus, "test")[0].id).numpy()
    assert (control.enhance(waveform, HL) == control.enhance(waveform, 0 * HL)).all()


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return parakeet.tiny(16, 1, 2, 4, 8, 80)


def test_with_a_weight_for_the_machine_it_hangs_on_ctc_whose_encoder_learns_with_it(finished, encoder, tmp_path):
    recipe = load_recipe("smoke", ["report_to=[]", *TOY.split(), "enhance.machine_weight=5"])
    found = {node.name: node for node in nodes(with_stage(recipe, "enhance"))}
    assert found["enhance"].parents == {"encoder": "ctc"}
    encoders.save(encoder, tmp_path / "ctc")
    made = context(tmp_path / "joint", Corpus.load(finished[0] / "corpus"))
    metrics = enhance.run(found["enhance"].options, replace(made, parents={"encoder": tmp_path / "ctc"}))
    assert 0 < metrics["machine_last"] < 10
    learner = encoders.trained_with(made.folder, encoder)
    assert learner is not encoder
    moved = {
        name
        for name, weight in learner.model.named_parameters()
        if not torch.equal(weight, dict(encoder.model.named_parameters())[name])
    }
    assert any(name.startswith("encoder.") for name in moved) and not any(
        name.startswith("ctc_head.") for name in moved
    )
    with torch.no_grad():
        other = parakeet.tiny(16, 1, 2, 4, 8, 80)
    with pytest.raises(InputError, match="learned from another encoder"):
        encoders.trained_with(made.folder, other)
    assert encoders.trained_with(finished[0] / "enhance", encoder) is encoder


def test_the_machines_loss_is_zero_where_nothing_is_missed_and_leaves_the_teacher_alone(encoder):
    machine = Recogniser(copy.deepcopy(encoder), encoder)
    clean, noise = torch.randn(2, 8_000) * torch.linspace(0, 1, 8_000), torch.randn(2, 8_000)
    shares = [machine(clean + share * noise, clean).item() for share in (0.0, 0.1, 1.0)]
    assert shares[0] == pytest.approx(0, abs=1e-9) and shares[0] < shares[1] < shares[2]
    noisy = (clean + noise).requires_grad_()
    machine(noisy, clean).backward()
    assert noisy.grad is not None and noisy.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in machine.teacher.parameters())
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in machine.learner.parameters())


def test_no_clean_speech_is_said_and_a_loss_that_is_not_a_number_stops(finished, tmp_path, monkeypatch):
    corpus = Corpus.load(finished[0] / "corpus")
    silent = Corpus(corpus.folder, {}, [], [], [], [], "none", {})
    with pytest.raises(InputError, match=r"raise corpus\.train_clips"):
        enhance.run(EnhanceConfig(steps=1), context(tmp_path / "silent", silent))
    monkeypatch.setattr(enhance_losses, "distance", lambda enhanced, clean: (enhanced * float("nan")).sum())
    config = EnhanceConfig(width=16, sub_width=8, steps=2, batch_size=1, segment_s=0.2, noises=2)
    with pytest.raises(RuntimeError, match="at step 1"):
        enhance.run(config, context(tmp_path / "nan", corpus))
    assert not list((tmp_path / "nan").iterdir())


def test_a_stopped_training_goes_on_to_the_very_same_weights_and_by_the_same_code(
    finished, tmp_path, monkeypatch, capsys
):
    corpus = Corpus.load(finished[0] / "corpus")
    monkeypatch.setattr(pieces, "PIECE", 1)
    config = EnhanceConfig(width=16, sub_width=8, steps=6, batch_size=2, segment_s=0.5, noises=6)
    whole, halted = (replace(context(tmp_path / name, corpus), stopped=tmp_path / "stopped") for name in ("a", "b"))
    wanted = enhance.run(config, replace(whole, stopped=None))
    monkeypatch.setattr(enhance, "KEEP_S", 0.0)
    drawn = []

    def until_the_fifth(self, number, size, samples, batch=Drawn.batch):
        drawn.append(number)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return batch(self, number, size, samples)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Drawn, "batch", until_the_fifth)
        enhance.run(config, halted)
    shutil.copytree(halted.stopped, tmp_path / "other")
    found = enhance.run(config, halted)
    assert drawn == [0, 1, 2, 3, 4] and found.pop("earlier_s") > 0
    assert found == wanted
    first, again = (load_file(one.folder / "enhancer.safetensors") for one in (whole, halted))
    assert all(torch.equal(first[name], again[name]) for name in first)
    monkeypatch.setattr(enhance, "stage_code", lambda stage: "changed")
    changed = replace(context(tmp_path / "c", corpus), stopped=tmp_path / "other")
    assert enhance.run(config, changed) == wanted
    assert "is of another code; the training starts anew" in capsys.readouterr().err


def test_a_state_that_cannot_be_read_is_told_and_the_training_starts_anew(finished, tmp_path, capsys):
    made = replace(context(tmp_path / "a", Corpus.load(finished[0] / "corpus")), stopped=tmp_path / "stopped")
    made.stopped.mkdir()
    (made.stopped / "training.safetensors").write_bytes(b"cut")
    config = EnhanceConfig(width=16, sub_width=8, steps=1, batch_size=1, segment_s=0.5, noises=2)
    assert enhance.run(config, made)["steps"] == 1
    assert "the training starts anew" in capsys.readouterr().err


def test_the_weights_that_are_best_on_validation_mixtures_are_kept(finished, tmp_path, monkeypatch):
    corpus = Corpus.load(finished[0] / "corpus")
    config = EnhanceConfig(width=16, sub_width=8, steps=60, batch_size=1, segment_s=0.2, noises=2, room_share=0.0)
    told_gains = iter([{"0": 3.0, "20": 1.0}, {"0": 2.5, "20": 2.0}, {"0": 9.0, "20": -4.0}])
    kept = []

    def told(made, mixed):
        kept.append({name: weight.clone() for name, weight in made.state_dict().items()})
        return next(told_gains)

    monkeypatch.setattr(enhance, "gains", told)
    made = context(tmp_path / "a", corpus)
    metrics = enhance.run(config, made)
    assert metrics["weights_of_step"] == 40 and metrics["valid_si_sdr_gain"]["60"] == {"0": 9.0, "20": -4.0}
    found = load_file(made.folder / "enhancer.safetensors")
    assert all(torch.equal(found[name], kept[1][name]) for name in found)


def test_without_a_validation_mixture_the_last_weights_are_kept_and_it_says_so(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(enhance, "valid_mixtures", lambda corpus, own_snr_db: [])
    config = EnhanceConfig(width=16, sub_width=8, steps=1, batch_size=1, segment_s=0.2, noises=2, room_share=0.0)
    metrics = enhance.run(config, context(tmp_path / "a", Corpus.load(finished[0] / "corpus")))
    assert "weights_of_step" not in metrics and "the last weights are kept" in capsys.readouterr().err


def test_train_and_test_share_neither_voice_nor_clip(finished):
    corpus = Corpus.load(finished[0] / "corpus")
    train, test = enhance_data.clean_speech(corpus, "train"), enhance_data.clean_speech(corpus, "test")
    assert train and test and not {c.speaker for c in train} & {c.speaker for c in test}


def test_distances_are_zero_gain_at_equality_and_sdr_is_the_ratio():
    torch.manual_seed(0)
    clean = torch.randn(2, 4_000)
    error = torch.randn(2, 4_000)
    ratio = 10 * torch.log10(clean.square().mean(-1) / (0.1 * error).square().mean(-1))
    assert (sdr(clean + 0.1 * error, clean) - ratio).abs().max() < 0.5  # the cap of 30 dB takes 0.4 at 20 dB
    assert spectral(clean, clean) == 0 and distance(clean, clean) == pytest.approx(-30, abs=0.01)
    assert sdr(torch.zeros(1, 100), torch.zeros(1, 100)).abs() < 0.01
    assert spectral(0.5 * clean, clean) > 0.1


def test_the_discriminator_learns_to_tell_and_its_losses_are_zero_where_it_is_fooled_or_right():
    torch.manual_seed(0)
    critic = Critic(8)
    time = torch.arange(4_000) / 16_000
    clean, noisy = torch.sin(2_000 * time).expand(2, -1), torch.randn(2, 4_000)
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    before = critic_loss(critic, noisy, clean).item()
    for _ in range(60):
        optimizer.zero_grad()
        critic_loss(critic, noisy, clean).backward()
        optimizer.step()
    assert critic_loss(critic, noisy, clean) < 0.2 * before
    assert adversarial_loss(critic, clean) < 0.2 < adversarial_loss(critic, noisy)


def test_metrics_of_the_row_are_json(finished):
    folder, _ = finished
    lines = [json.loads(line) for line in (folder / "enhance" / "answers.jsonl").read_text().splitlines()]
    assert {"id", "probe", "clip", "content", "speaker", "source", "noise", "snr_db", "value"} == set(lines[0])
