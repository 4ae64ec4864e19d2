"""A folder that somebody else made is read as data: code planted in it does not run, wherever a command looks."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import lm_eval.tasks
import pytest
import torch
import yaml
from transformers import AutoTokenizer

from posttrain.errors import InputError
from posttrain.evals import harness, standalone
from posttrain.evals.safety import labelled_answers
from posttrain.evals.safety.judge import Judge
from posttrain.model import checkpoint, untrusted
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.parakeet import tiny
from posttrain.model.folder import check_folder
from posttrain.model.speech_llama import load_llama
from posttrain.run import memory
from tests.evals.test_harness import items
from tests.stages.toy_run import sft_folder

ROOT = Path(__file__).parent.parent


class Planted:
    """A file whose existence says that planted code ran, and that code."""

    def __init__(self, folder: Path):
        self.marker = folder / "ran"
        self.code = f"from pathlib import Path\nPath({str(self.marker)!r}).touch()\n"

    def __reduce__(self):
        return Path.touch, (self.marker,)

    @property
    def ran(self) -> bool:
        return self.marker.exists()


@pytest.fixture
def planted(tmp_path):
    return Planted(tmp_path)


def change(path: Path, **entries) -> None:
    """Set entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture
def parakeet(tmp_path):
    tiny(16, 1, 2, 4, 8, 80).save(tmp_path / "ctc")
    return tmp_path / "ctc"


# --- lm-evaluation-harness -------------------------------------------------------------------------------------------


def plant_tasks(folder: Path, planted: Planted) -> None:
    """Tasks of our tag whose functions lie beside them, in every way that lm-eval knows."""
    (folder / "posttrain" / "evals").mkdir(parents=True)
    for path in (folder / "evil.py", folder / "posttrain" / "evals" / "harness.py"):
        path.write_text(planted.code + "def process_results(*_): return {'score': 1.0}\n")
    (folder / "data.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    task = {
        "task": "posttrain_evil", "tag": [harness.OURS], "dataset_path": "json", "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": str(folder / "data.jsonl")}}, "output_type": "generate_until",
        "doc_to_text": "{{prompt}}", "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "score", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    text = yaml.safe_dump(task)
    (folder / "posttrain_evil.yaml").write_text(text + "process_results: !function evil.process_results\n")
    real = text.replace("posttrain_evil", "posttrain_ability_sum_easy")
    (folder / "posttrain_ability_sum_easy.yaml").write_text(real + "process_results: !function evil.process_results\n")


@pytest.mark.parametrize("tasks", [[harness.OURS], ["posttrain_ability_sum_easy"], ["posttrain_evil"]])
def test_tasks_planted_in_a_run_are_not_imported(tasks, llama, tmp_path, planted, table, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = sft_folder(llama, tmp_path / "run" / "sft")
    for place in (tmp_path / "run", folder, tmp_path):
        plant_tasks(place / "lm_eval", planted)
    (tmp_path / "run" / "corpus").mkdir()
    (tmp_path / "run" / "corpus" / "corpus.json").write_text('{"fingerprint": "abc"}')
    stage = {"stage": "sft", "seed": 0, "corpus": str(tmp_path / "run" / "corpus"), "references": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(stage))
    monkeypatch.setattr(standalone.Corpus, "load", lambda _: SimpleNamespace(items=items()))
    monkeypatch.chdir(tmp_path / "run")
    if tasks == ["posttrain_evil"]:
        own = partial(lm_eval.tasks.TaskManager, include_defaults=False)  # listing lm-eval's own tasks takes seconds
        monkeypatch.setattr(lm_eval.tasks, "TaskManager", own)
        with pytest.raises(InputError, match="posttrain_evil"):
            standalone.benchmarks(folder, "cpu", tasks, 1)
    else:
        found = standalone.benchmarks(folder, "cpu", tasks, 1)
        assert "lm_eval/posttrain_ability_sum_easy/score" in found and not any("evil" in name for name in found)
    assert not planted.ran


@pytest.mark.parametrize(
    "line",
    [
        "process_docs: !function evil.f",
        "include: ../other.yaml",
        "class: !function evil.Task",
        "class: x",
        "metadata: !!python/object/apply:os.getcwd []",
        "a: {b: [!function evil.f]}",
    ],
)
def test_a_folder_of_tasks_that_names_code_is_refused(line, tmp_path):
    (tmp_path / "task.yaml").write_text(f"task: mine\n{line}\n")
    with pytest.raises(InputError, match=r"task\.yaml has .*tasks here are data alone"):
        harness.check_tasks(tmp_path)
    (tmp_path / "task.yaml").write_text("task: mine\ndoc_to_text: '{{q}}'\n")
    harness.check_tasks(tmp_path)
    (tmp_path / "utils.py").write_text("")
    with pytest.raises(InputError, match=r"utils\.py is Python"):
        harness.check_tasks(tmp_path)


# --- models and adapters ---------------------------------------------------------------------------------------------

AUTO = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForCTC"), "evil.Evil")


@pytest.mark.parametrize("entry", [{"auto_map": AUTO}, {"attn_implementation": "someone/kernel"}])
def test_a_model_that_asks_for_code_of_its_own_is_refused(entry, base_folder, parakeet, planted, tmp_path):
    for folder in (base_folder, parakeet):
        (folder / "evil.py").write_text(planted.code + "class Evil: ...\n")
        change(folder / "config.json", **entry)
    (base_folder / checkpoint.SPEC_FILE).unlink()
    asks = [
        lambda: load_llama(base_folder),
        lambda: checkpoint.load(base_folder),
        lambda: Judge.load(str(base_folder), "cpu"),
        lambda: check_folder(base_folder, "llama"),
        lambda: encoders.load(parakeet),
        lambda: check_folder(parakeet, "encoder"),
    ]
    for ask in asks:
        with pytest.raises(InputError, match=f"config.json has {next(iter(entry))}"):
            ask()
    assert memory._content(str(base_folder), None) is None
    assert not planted.ran


def test_code_that_a_tokenizer_or_an_extractor_names_is_left_alone(base_folder, parakeet, planted):
    for folder in (base_folder, parakeet):
        (folder / "evil.py").write_text(planted.code + "class Evil: ...\n")
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(planted.code + "def generate(*_, **__): ...\n")
        auto = {"AutoTokenizer": ["evil.Evil", "evil.Evil"], "AutoFeatureExtractor": "evil.Evil"}
        change(folder / "tokenizer_config.json", auto_map=auto, tokenizer_class="Evil")
    extractor = next(parakeet.glob("p*processor_config.json"))
    change(extractor, auto_map={"AutoFeatureExtractor": "evil.Evil"}, feature_extractor_type="Evil")
    (base_folder / checkpoint.SPEC_FILE).unlink()
    llama = checkpoint.load(base_folder)
    llama.model.generate(torch.tensor([[1, 2]]), max_new_tokens=2)
    assert encoders.load(parakeet).labels("one two")
    assert not planted.ran


def test_the_concrete_classes_read_what_the_auto_classes_read(parakeet):
    auto, ours = AutoTokenizer.from_pretrained(parakeet), encoders.load(parakeet).tokenizer
    assert type(auto) is type(ours) and auto("turn it up").input_ids == ours("turn it up").input_ids


def test_pickled_weights_are_not_read(base_folder, parakeet, planted):
    (base_folder / checkpoint.SPEC_FILE).unlink()
    for folder in (base_folder, parakeet):
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(planted))
    for ask in (lambda: checkpoint.load(base_folder), lambda: encoders.load(parakeet)):
        with pytest.raises(InputError, match="cannot be loaded"):
            ask()
    assert not planted.ran


def test_an_adapter_beside_a_model_is_not_put_on_it_without_a_word(base_folder, llama, tmp_path, planted):
    adapter = sft_folder(llama, tmp_path / "sft") / "adapter"
    shutil.copy(adapter / untrusted.ADAPTER_CONFIG, base_folder)
    (base_folder / "adapter_model.bin").write_bytes(pickle.dumps(planted))
    with pytest.raises(InputError, match=r"adapter_config\.json beside config\.json"):
        load_llama(base_folder)
    assert not planted.ran


def test_an_adapter_with_pickled_weights_is_refused(llama, tmp_path, planted):
    folder = sft_folder(llama, tmp_path / "sft")
    spec = json.loads((folder / checkpoint.SPEC_FILE).read_text())
    del spec["hashes"]["adapter/adapter_model.safetensors"]
    (folder / checkpoint.SPEC_FILE).write_text(json.dumps(spec))
    (folder / "adapter" / "adapter_model.safetensors").unlink()
    (folder / "adapter" / "adapter_model.bin").write_bytes(pickle.dumps(planted))
    with pytest.raises(InputError, match="other kinds of weights are not read"):
        checkpoint.load(folder)
    assert not planted.ran


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"megatron_config": {}, "megatron_core": "evil"}, "megatron_core is 'evil'"),
        ({"auto_mapping": {"parent_library": "evil", "base_model_class": "Evil"}}, "auto_mapping"),
        ({"peft_type": "EVIL"}, "not the config of LORA or PROMPT_TUNING"),
        ({"peft_type": "PROMPT_TUNING", "prompt_tuning_init": "TEXT"}, "prompt_tuning_init is 'TEXT'"),
        ({"peft_type": "PROMPT_TUNING", "tokenizer_kwargs": {"trust_remote_code": True}}, "tokenizer_kwargs"),
        ({"target_modules": "(a+)+$"}, "expected a pattern of layers' names"),
        ({"target_modules": ["q_proj"]}, "expected a pattern of layers' names"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"arrow_config": {"x": 1}}, "arrow_config"),
        ({"never_heard_of": 1}, "not an option of this version of PEFT"),
    ],
)
def test_an_adapters_config_may_set_what_ours_set_and_no_more(entries, named, llama, tmp_path, planted, monkeypatch):
    folder = sft_folder(llama, tmp_path / "sft") / "adapter"
    untrusted.check_adapter(folder)
    (tmp_path / "evil.py").write_text(planted.code)
    monkeypatch.syspath_prepend(tmp_path)
    change(folder / untrusted.ADAPTER_CONFIG, **entries)
    with pytest.raises(InputError, match=named):
        untrusted.check_adapter(folder)
    assert not planted.ran


@pytest.mark.parametrize("name", ["lora", "dora", "prompt_tuning"])
def test_every_adapter_that_is_made_here_is_read_again(name, llama, tmp_path, table):
    checkpoint.save(tmp_path / name, checkpoint.adapt(llama, name), stage="sft")
    assert checkpoint.load(tmp_path / name, table=table).spec.adapter == name


def test_a_checkpoint_cannot_name_files_outside_its_folder(llama, tmp_path):
    folder = sft_folder(llama, tmp_path / "sft")
    spec = json.loads((folder / checkpoint.SPEC_FILE).read_text())
    for name in ("../secret", "/etc/hostname", "a/../../b"):
        (folder / checkpoint.SPEC_FILE).write_text(json.dumps(spec | {"hashes": {name: "0"}}))
        with pytest.raises(InputError, match="not in the folder"):
            checkpoint.load(folder)


# --- processes and files ---------------------------------------------------------------------------------------------


def test_modules_in_the_working_folder_are_not_imported(tmp_path, planted):
    """Made speech is spoken by processes of its own, which are begun where the user is."""
    for name in ("json", "numpy", "soxr", "espeakng_loader", "multiprocessing", "posttrain"):
        (tmp_path / f"{name}.py").write_text(planted.code + "raise SystemExit(f'{__file__} was imported')\n")
    code = (
        "import sys; sys.path.pop(0) if sys.path[0] == '' else None\n"
        "from pathlib import Path; from posttrain.corpus import speech\n"
        "u = speech.Utterance('one', speech.voices('test')[0], 150, 50, 50, 'test', 'clean', False, 0)\n"
        "print(len([*speech.synthesise([[u]], Path('shards'))]))"
    )
    path = {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path, env=os.environ | path, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "1" and not planted.ran


def test_processes_of_a_command_do_not_look_into_the_working_folder():
    from posttrain.__main__ import ENVIRONMENT

    assert ENVIRONMENT["PYTHONSAFEPATH"] == "1"


@pytest.mark.parametrize(
    "entry",
    [{"stage": "../x"}, {"stage": ".."}, {"run": "a/b"}, {"run": "\x1b[2J"}, {"checkpoint": "runs/one/.."}],
)
def test_names_in_a_ledger_are_names_of_folders(entry, tmp_path):
    from posttrain.run import ledger
    from tests.report.made_run import make_run

    make_run(tmp_path / "one", ["base"], items=4, bootstrap=20)
    path = tmp_path / "one" / "ledger.jsonl"
    assert len(ledger.read(path)) == 1
    path.write_text(json.dumps(json.loads(path.read_text().splitlines()[0]) | entry) + "\n")
    with pytest.raises(InputError, match="expected the name of a folder"):
        ledger.read(path)


def test_a_cell_is_no_formula_and_is_read_as_it_was_said(tmp_path):
    for said in ("=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", "it's", "'quoted", "plain", ""):
        cell = labelled_answers.inert(said)
        assert not labelled_answers.FORMULA.match(cell)
        assert labelled_answers.as_said(cell) == said


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "../adapters/lora", ".", "..", "a\x00b"])
def test_names_of_adapters_and_sources_do_not_leave_their_folder(name):
    from posttrain.config import assets

    for kind in ("adapters", "data"):  # nor by a way back in
        with pytest.raises((InputError, ValueError)):
            assets.path(kind, name)
