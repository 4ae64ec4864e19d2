"""A run whose `ctc.model` names a folder: other frames and transcripts, and an encoder that learns too."""

import json

from posttrain.__main__ import run as posttrain
from posttrain.config.recipe import load_recipe
from posttrain.corpus.store import Corpus
from posttrain.model import checkpoint
from posttrain.model import corpus_table as tables
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import batched, state_hash
from posttrain.run import doctor, runner
from tests import tiny_encoders

SMALL = (
    "stages=[base,ctc,align,sft]",
    "corpus.train_clips=24",
    "corpus.rl_clips=4",
    "corpus.valid_clips=4",
    "corpus.test_sentences=2",
    "corpus.probe_items=6",
    "corpus.spoken_items=2",
    "base.steps=4",
    "align.stack=4",
    "align.ctc_steps=2",
    "align.steps=2",
    "sft.steps=2",
    "sft.batch_size=4",
    "evaluation.max_new_tokens=4",
)
TRAINED = ("sft.train_encoder=true", "align.blank_below=1", "sft.candidates=0")


def test_a_run_hears_through_a_named_whisper_from_its_plan_to_its_ledger(tmp_path, capsys):
    folder = tiny_encoders.whisper(tmp_path / "whisper", max_target_positions=12)
    changes = [f"ctc.model={folder}", *SMALL, *TRAINED]
    recipe = load_recipe("smoke", changes)
    assert all(finding.ok for finding in doctor.examine(recipe, tmp_path) if finding.name == "ctc.model")
    options = [part for change in changes for part in ("--set", change)]
    assert posttrain(["run", "smoke", "--run", str(tmp_path / "plan"), "--dry-run", *options]) == 0
    capsys.readouterr()
    run = tmp_path / "run"
    runner.run(recipe, run)
    rows = {row["stage"]: row for row in map(json.loads, (run / "ledger.jsonl").read_text().splitlines())}
    assert set(rows) == {"base", "ctc", "align", "sft"}
    assert rows["ctc"]["metrics"]["wer/clean"]["n"] == rows["sft"]["metrics"]["wer/clean"]["n"] > 0
    own = [json.loads(line) for line in (run / "sft" / "answers.jsonl").read_text().splitlines()]
    assert any(line.get("encoder_output") for line in own)
    spec = checkpoint.read_spec(run / "sft")
    assert spec.encoder_dim == 32
    trained, before = encoders.load(spec.encoder), encoders.load(run / "ctc")
    assert type(trained) is type(before) and state_hash(trained.model) != state_hash(before.model)


def test_from_sft_on_a_run_reads_the_transcripts_of_a_named_whisper(tmp_path, monkeypatch):
    folder = tiny_encoders.whisper(tmp_path / "whisper", max_target_positions=12)
    arms = "{name: reads, stage: sft, options: {transcript: true}}, {name: dpo, stage: dpo, parents: {model: reads}}"
    changes = [
        f"ctc.model={folder}",
        *SMALL[1:],
        f"stages=[base, ctc, align, {arms}]",
        "dpo.steps=2",
        "dpo.batch_size=2",
    ]
    encoded = []
    monkeypatch.setattr(tables, "batched", lambda *a: encoded.append(all(a[-2])) or batched(*a))
    run = tmp_path / "run"
    rows = runner.run(load_recipe("smoke", changes), run)
    assert [row.stage for row in rows] == ["base", "ctc", "align", "reads", "dpo"]
    assert encoded == [True]  # with the transcripts of training clips at once, since a later stage reads them
    assert [checkpoint.read_spec(run / n).transcript for n in ("align", "reads", "dpo")] == [0, 1, 1]
    corpus = Corpus.load(run / "corpus")
    table = tables.corpus_table(run / "ctc", corpus, "cpu")
    item = next(item for item in corpus.items if item.clip and table.hypotheses[item.clip])
    content = checkpoint.load(run / "dpo", table=table).tokenizer.messages(item)[0]["content"]
    assert content.endswith(f"|>\nHeard: {table.hypotheses[item.clip]}")
