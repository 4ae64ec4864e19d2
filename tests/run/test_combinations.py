"""What a later stage would refuse is refused by plan, dry run, run and doctor, before anything is made, all at once."""

import json

import pytest
from conftest import byte_tokenizer

from posttrain.__main__ import run
from posttrain.config import recipe as config
from posttrain.config.adapter_file import read
from posttrain.config.stage_table import TABLE
from posttrain.errors import InputError
from posttrain.run import combinations, doctor, preflight, runner


def stages(*nodes: str) -> str:
    """An override that names the stages."""
    return f"stages=[{', '.join(nodes)}]"


def arm(name: str, stage: str = "sft", parent: str = "", **options) -> str:
    """A node."""
    parents = f", parents: {{{parent}}}" if parent else ""
    return f"{{name: {name}, stage: {stage}{parents}, options: {json.dumps(options)}}}"


TO_SFT = ("base", "ctc", "align", "distill", "sft")
REFUSED = {
    "prompt tuning, then reward": (["sft.adapter=prompt_tuning"], ["reward: it merges the adapter of its parent sft"]),
    "full, then grpo": (["sft.adapter=full"], ["grpo: it needs a parent with an adapter, but of dpo adapter full"]),
    "projector, then grpo": (["sft.adapter=projector"], ["grpo: it needs a parent with an adapter"]),
    "rank 0, then grpo": (["sft.rank=0"], ["grpo: it needs a parent with an adapter"]),
    "prompt tuning, then a person": (
        ["sft.adapter=prompt_tuning", stages(*TO_SFT, "personalise")],
        ["personalise: it needs a parent with a LoRA"],
    ),
    "full, then a person": (
        ["sft.adapter=full", stages(*TO_SFT, "personalise")],
        ["personalise: it needs a parent with a LoRA"],
    ),
    "rank 0, then a person": (
        ["sft.rank=0", stages(*TO_SFT, "personalise")],
        ["personalise: it needs a parent with a LoRA"],
    ),
    "full, then a person on dpo": (
        ["sft.adapter=full", stages(*TO_SFT, "dpo", arm("mine", "personalise", "model: dpo"))],
        ["mine: it needs a parent with a LoRA"],
    ),
    "an encoder that trains while its transcripts are read": (
        ["sft.transcript=true", "sft.train_encoder=true", stages(*TO_SFT)],
        ["sft: transcript and train_encoder are true"],
    ),
    "4 bits and full": (
        ["base.quantization=nf4", "base.model=./llama", "sft.adapter=full", stages(*TO_SFT)],
        ["sft: adapter full trains all weights, but the base's are in 4 bits"],
    ),
    "4 bits, rank 0, then dpo": (
        ["base.quantization=nf4", "base.model=./llama", "sft.rank=0", stages(*TO_SFT, "dpo")],
        ["dpo: weights in 4 bits can be tuned through an adapter only"],
    ),
    "4 bits by qlora, rank 0, then dpo": (
        ["sft.adapter=qlora", "sft.rank=0", stages(*TO_SFT, "dpo")],
        ["dpo: weights in 4 bits can be tuned through an adapter only"],
    ),
    "4 bits and the tiny base": (["base.quantization=nf4"], ["base: base.quantization is nf4, expected none"]),
    "another adapter on one": (
        [stages(*TO_SFT, arm("more", parent="model: sft", adapter="dora"))],
        ["more: its parent sft has adapter lora already, expected dora"],
    ),
    "another rank on one": (
        [stages(*TO_SFT, arm("more", parent="model: sft", rank=4))],
        ["more: its parent sft has adapter lora already, expected lora of rank 4"],
    ),
    "full on an adapter behind dpo": (
        [stages(*TO_SFT, "dpo", arm("more", parent="model: dpo", adapter="full"))],
        ["more: its parent dpo has adapter lora already"],
    ),
    "sft on the base": ([stages(*TO_SFT[:4], arm("x", parent="model: base"))], ["x: its model is base, of stage base"]),
    "sft on a reward model": (
        [stages(*TO_SFT, "reward", arm("x", parent="model: reward"))],
        ["x: its model is reward, of stage reward"],
    ),
    "dpo on a person": (
        [stages(*TO_SFT, "personalise", arm("x", "dpo", "model: personalise"))],
        ["x: its model is personalise, of stage personalise"],
    ),
    "distill on sft": (
        [stages(*TO_SFT, arm("x", "distill", "model: sft"))],
        ["x: its model is sft, of stage sft, expected one of stage align or distill"],
    ),
    "align on an encoder": (
        [stages("base", "ctc", arm("x", "align", "llm: ctc, encoder: base"))],
        ["x: its llm is ctc", "x: its encoder is base"],
    ),
    "a reward model that is none": (
        [stages(*TO_SFT, arm("g", "grpo", "model: sft, reward: sft", reward_model_weight=0.5))],
        ["g: its reward is sft, of stage sft, expected one of stage reward"],
    ),
    "a match that is none": (
        [stages(*TO_SFT, arm("x", parent="model: distill, match: align"))],
        ["x: its match is align, of stage align, expected one of stage sft"],
    ),
    "a denoiser for no encoder": (["enhance.machine_weight=1", stages("base", "enhance")], ["needs ctc before it"]),
    "less of dora's change": (["sft.adapter=dora", "sft.keep_change=0.5"], ["the change of adapter dora"]),
    "a copy that does not go together": (
        ["seeds=2", "sft.adapter=full", stages(*TO_SFT, "grpo")],
        ["grpo: it needs a parent with an adapter"],
    ),
    "a stage called as a folder": ([stages(*TO_SFT[:4], arm("corpus"))], ["corpus is the name of another folder"]),
    "a stage called as a file": ([stages(*TO_SFT[:4], arm("ledger.jsonl"))], ["ledger.jsonl is the name"]),
    "nothing to train on": (["corpus.train_clips=0"], ["corpus.train_clips is 0"]),
    "nothing to measure on": (["corpus.valid_clips=0"], ["corpus.valid_clips is 0"]),
    "nothing to practise": (["corpus.rl_clips=0"], ["corpus.rl_clips is 0, expected at least grpo's"]),
    "too little to practise": (["corpus.rl_clips=7"], ["corpus.rl_clips is 7", "prompts_per_step = 8"]),
    "too few harmful requests": (
        ["corpus.train_clips=1", "corpus.rl_clips=20", "sft.safety_share=0.1"],
        ["corpus.train_clips is 1, which leaves no harmful requests"],
    ),
    "more probes than there are": (["corpus.probe_items=100000"], ["corpus: ", "lower corpus.probe_items"]),
    "recordings that are not named": (["ctc.real_steps=5"], ["ctc.real_steps is 5, but no recordings are named"]),
    "a source twice": (["corpus.sources=[fsdd, fsdd]", "corpus.data_root=."], ["corpus.sources names fsdd twice"]),
    "no words": (["base.vocab_size=264"], ["base.vocab_size is 264, expected at least 265"]),
    "heads": (["base.heads=5"], ["base.hidden_size is 192, expected a multiple of 2 × base.heads = 10"]),
    "an odd width of heads": (["base.hidden_size=18"], ["base.hidden_size is 18, expected a multiple of"]),
    "groups of heads": (["base.kv_heads=4"], ["base.heads is 6, expected a multiple of base.kv_heads = 4"]),
    "more groups than heads": (["base.kv_heads=12"], ["base.heads is 6, expected a multiple of base.kv_heads = 12"]),
    "heads of one node": (
        [stages(arm("base", "base", heads=7))],
        ["base.hidden_size is 192, expected a multiple of 2 × base.heads = 14"],
    ),
    "heads of the encoder": (["ctc.heads=7"], ["ctc.hidden_size is 160, expected a multiple of ctc.heads = 7"]),
    "an odd encoder": (["ctc.hidden_size=15", "ctc.heads=5"], ["ctc.hidden_size is 15, expected a multiple of 2"]),
    "a subsampling of three": (
        ["ctc.subsampling_factor=3"],
        ["ctc.subsampling_factor is 3, expected one of 2, 4, 8, 16"],
    ),
    "a subsampling of one": (["ctc.subsampling_factor=1"], ["ctc.subsampling_factor is 1, expected one of"]),
    "bins that are not halved": (["ctc.mel_bins=63"], ["ctc.mel_bins is 63, expected a multiple of ctc.subsampling"]),
    "a range upside down": (["enhance.snr_db=[15, -5]", stages("enhance")], ["enhance.snr_db is [15.0, -5.0]"]),
    "a range without an end": (["enhance.snr_db=[0, .inf]", stages("enhance")], ["enhance.snr_db is [0.0, inf]"]),
    "a piece shorter than a window": (["enhance.segment_s=0.01", stages("enhance")], ["enhance.segment_s is 0.01"]),
    "a misspelt listener": (["personalise.listener=N33"], ["personalise.listener: ", "N33"]),
    "a manifest that is missing": (["personalise.manifest=no.csv"], ["no.csv: file not found"]),
    "a root that is missing": (["corpus.data_root=./nowhere"], ["corpus.data_root is ./nowhere: folder not found"]),
    "a misspelt device": (["device=gpu"], ["device is gpu"]),
    "a board with a dot": (["report_to=[evil.module]"], ["report_to names 'evil.module'"]),
}


def arguments(changes: list[str]) -> list[str]:
    return [argument for change in changes for argument in ("--set", change)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_run_and_its_dry_run_are_refused_before_anything_is_made(case, command, tmp_path, capsys):
    changes, named = REFUSED[case]
    assert run([command[0], "tiny", *command[1:], *arguments(changes)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    for part in named:
        assert part in printed.err
    assert all(line.startswith("posttrain: ") for line in printed.err.splitlines())
    assert not (tmp_path / "runs" / "tiny").exists()


@pytest.mark.parametrize("case", ["prompt tuning, then reward", "full, then grpo", "4 bits and full", "heads"])
def test_the_doctor_marks_it(case, tmp_path):
    changes, named = REFUSED[case]
    recipe = config.load_recipe("tiny", changes)
    steps = runner.plan(recipe, tmp_path / "run", refuse=False)
    told = [str(finding) for finding in doctor.needs(recipe, tmp_path / "run", steps) if not finding.ok]
    assert all(any(part in line for line in told) for part in named)


@pytest.mark.parametrize("case", ["prompt tuning, then reward", "full, then grpo", "sft on the base"])
def test_the_plan_itself_refuses(case, tmp_path):
    changes, named = REFUSED[case]
    with pytest.raises(InputError) as error:
        runner.plan(config.load_recipe("tiny", changes), tmp_path / "run")
    assert named[0] in "\n".join(error.value.problems)


def test_the_doctors_status_is_1(capsys):
    assert run(["doctor", "tiny", "--set", "sft.adapter=prompt_tuning"]) == 1
    assert "✗ recipe: reward: it merges the adapter" in capsys.readouterr().out


def test_everything_wrong_is_told_at_once(capsys):
    changes = [
        "sft.adapter=prompt_tuning", "base.heads=5", "ctc.heads=7", "corpus.rl_clips=0", "personalise.listener=N33",
        "base.vocab_size=9", "enhance.snr_db=[9, 1]", "device=gpu", "corpus.data_root=./no", "dpo.beta=-1", "x.y=1",
        stages(*TO_SFT, "reward", "grpo", "enhance"),
    ]  # fmt: skip
    assert run(["run", "tiny", "--dry-run", *arguments(changes)]) == 2
    told = capsys.readouterr().err
    for part in (
        "reward: it merges", "base.heads = 10", "ctc.heads = 7", "rl_clips is 0", "N33", "vocab_size is 9", "snr_db is",
        "device is gpu", "data_root is ./no", "dpo.beta", "x is not an option",
    ):  # fmt: skip
        assert part in told


GOES_TOGETHER = {
    "full and dpo": ["sft.adapter=full", stages(*TO_SFT, "reward", "dpo")],
    "prompt tuning and dpo, grpo": ["sft.adapter=prompt_tuning", stages(*TO_SFT, "dpo", "grpo")],
    "dora to the end": ["sft.adapter=dora"],
    "qlora to the end": ["sft.adapter=qlora"],
    "4 bits and lora": ["base.quantization=nf4", "base.model=org/llama"],
    "half of a change": [stages(*TO_SFT, arm("half", parent="model: sft", steps=0, keep_change=0.5))],
    "full on full": ["sft.adapter=full", stages(*TO_SFT, arm("more", parent="model: sft", adapter="full"))],
    "lora on a projector": ["sft.rank=0", stages(*TO_SFT, arm("more", parent="model: sft", rank=4))],
    "a person on dora": ["sft.adapter=dora", stages(*TO_SFT, "personalise")],
    "no steps": [f"{stage}.steps=0" for stage in ("ctc", "align", "distill", "sft", "reward", "dpo", "grpo")],
    "the encoder too": ["sft.train_encoder=true"],
    "all seeds": ["seeds=3", stages(*TO_SFT, arm("again", parent="model: sft"))],
    "two encoders": [stages("base", "ctc", arm("other", "ctc"), "align", arm("e", "enhance", "encoder: other"))],
}


@pytest.mark.parametrize("case", GOES_TOGETHER)
def test_what_goes_together_is_not_refused(case, tmp_path):
    recipe = config.load_recipe("tiny", GOES_TOGETHER[case])
    steps = runner.plan(recipe, tmp_path / "run")
    person = [problem for problem in preflight.wrong(recipe, steps) if "manifest is not given" not in problem]
    assert person == []


@pytest.mark.parametrize("until", ["sft", "dpo"])
def test_stages_that_are_not_asked_for_do_not_count(until, capsys):
    assert run(["stage", until, "--dry-run", "--set", "sft.adapter=full"]) == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in config.RECIPES.glob("*.yaml")))
def test_the_recipes_that_ship_are_not_refused(name, tmp_path):
    recipe = config.load_recipe(name)
    assert preflight.wrong(recipe, runner.plan(recipe, tmp_path / "run")) == []


def test_a_finished_parent_that_lacks_a_file_is_named(tmp_path):
    from posttrain.run.runner import Step

    recipe = config.load_recipe("tiny", [stages(*TO_SFT)])
    steps = runner.plan(recipe, tmp_path / "run")
    folder = tmp_path / "run" / "distill"
    folder.mkdir(parents=True)
    done = [
        Step(s.name, s.stage, "done" if s.name in ("corpus", "distill") else "run", "", s.folder, s.node) for s in steps
    ]
    assert "holds no checkpoint (no checkpoint.json)" in "\n".join(preflight.wrong(recipe, done))
    (folder / "checkpoint.json").write_text(json.dumps({"stage": "distill", "hashes": {"projector.safetensors": "0"}}))
    assert f"{folder / 'projector.safetensors'} is missing" in "\n".join(preflight.wrong(recipe, done))
    (folder / "projector.safetensors").touch()
    assert preflight.wrong(recipe, done) == []


def test_the_least_vocabulary_is_that_of_the_tokenizer():
    from posttrain.run.graph import nodes

    for size in (264, 265):
        recipe = config.load_recipe("smoke", [f"base.vocab_size={size}"])
        found = "".join(combinations.problems(recipe, nodes(recipe)))
        assert ("base.vocab_size is 264, expected at least 265" in found) == (size == 264)
    assert len(byte_tokenizer()) == 265


def test_every_role_of_the_stage_table_names_stages_and_those_that_fill_it_may_be_named():
    parents = [parent for spec in TABLE.values() for parent in spec.parents.values()]
    assert len(parents) >= 10
    for parent in parents:
        assert {*parent.usual, *parent.allowed} <= set(TABLE)
        assert set(parent.usual) <= set(parent.allowed or parent.usual)


def test_adapters_are_read_as_the_model_has_them():
    assert read("dora").use_dora and read("qlora").quantization == "nf4" and read("lora", 0).rank == 0
