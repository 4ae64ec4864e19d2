"""Recipes: read safely, checked whole, with every problem in one error."""

import ast
import dataclasses
from pathlib import Path

import pytest

from posttrain.config import gate as gate_config
from posttrain.config import recipe as config
from posttrain.config import sections
from posttrain.config.recipe import load_recipe, read_recipe, section
from posttrain.errors import InputError
from posttrain.run.graph import nodes

WRONG = """
nam: x
stages: [base, ctc, {name: a, stage: align, options: {stak: 3, steps: -1}}]
sft: {learning_rte: 3, rank: true, steps: abc}
corpus: {sources: fsdd, on_bad_audio: maybe}
dpo:
grpo: 5
reward: {learning_rate: .nan}
"""


def recipe(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_every_problem_of_a_recipe_is_in_one_error(tmp_path):
    with pytest.raises(InputError) as error:
        load_recipe(recipe(tmp_path, WRONG), ["sft.x", "base.model=[1", "name.x=3", "base.heads=0"])
    listed = "\n".join(error.value.problems)
    for part in (
        "--set sft.x: expected",
        "--set base.model=[1",
        "nam is not an option; did you mean name?",
        "corpus.sources is 'fsdd'",
        "corpus.on_bad_audio is 'maybe'",
        "--set base.heads=0: base.heads is 0",
        "sft.learning_rte is not an option; did you mean learning_rate?",
        "sft.rank is True",
        "sft.steps is 'abc'",
        "grpo is 5",
        "reward.learning_rate is nan",
        "stages.a.options: stak is not an option; did you mean stack?",
        "stages.a.options: steps is -1",
    ):
        assert part in listed
    assert all("mine.yaml" in problem or "--set" in problem for problem in error.value.problems)


def test_defaults_stand_in_for_wrong_entries_and_right_ones_stay(tmp_path):
    loaded, problems = read_recipe(recipe(tmp_path, "seed: 7\nsft: {steps: abc, batch_size: 3}\nwrong: 1"))
    assert len(problems) == 2
    assert (loaded.seed, loaded.sft.batch_size, loaded.sft.steps) == (7, 3, sections.SFTConfig().steps)


@pytest.mark.parametrize("text", ["- a\n- b", "x: [", "just words", "sft: !!python/object/apply:os.getcwd []", "\x00"])
def test_what_is_not_a_safe_mapping_is_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load_recipe(recipe(tmp_path, text))


def test_text_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(path)


def test_an_unknown_recipe_is_answered_with_those_there_are():
    with pytest.raises(InputError, match=r"recipe nope not found .*smoke, .*tiny"):
        load_recipe("nope")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b"])
def test_a_name_that_would_leave_the_runs_folder_is_refused(name):
    with pytest.raises(InputError, match="name is"):
        load_recipe("tiny", [f"name='{name}'"])


def test_overrides_reach_into_sections_and_are_yaml(tmp_path):
    path = recipe(tmp_path, "sft: {steps: 5}")
    loaded = load_recipe(path, ["sft.learning_rate=1e-4", "sft.rank=0", "corpus.sources=[fsdd, noise]", "seed=3"])
    assert loaded.sft == dataclasses.replace(sections.SFTConfig(), steps=5, learning_rate=1e-4, rank=0)
    assert loaded.corpus.sources == ("fsdd", "noise")
    assert loaded.seed == 3


def test_a_nodes_options_change_that_node_alone(tmp_path):
    stages = "[base, ctc, align, {name: sft_a, stage: sft, options: {rank: 4}}, {name: sft_b, stage: sft}]"
    loaded = load_recipe(recipe(tmp_path, f"stages: {stages}"))
    assert [section(loaded, node).rank for node in loaded.stages[-2:]] == [4, None]


def test_a_recipe_is_not_changed_by_its_use():
    loaded = load_recipe("tiny")
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.seed = 1  # type: ignore[misc]


def test_every_option_says_what_it_is_and_no_section_has_more_than_twenty():
    bodies = [ast.parse(Path(module.__file__).read_text()).body for module in (config, gate_config, sections)]
    classes = [n for body in bodies for n in body if isinstance(n, ast.ClassDef)]
    assert len(classes) >= 13
    for cls in classes:
        fields = [n for n in cls.body if isinstance(n, ast.AnnAssign)]
        assert len(fields) <= 20, cls.name
        for field, after in zip(cls.body, [*cls.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and not (cls.name == "Recipe" and "Config" in ast.unparse(field)):
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert said, f"{cls.name}.{ast.unparse(field.target)} has no docstring"


PLACES = ("base.model", "ctc.model", "corpus.data_root", "personalise.manifest", "personalise.listener")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("written", ["~/a/b", "$HOME/a/b", "${HOME}/a/b"])
def test_paths_are_expanded_once_when_a_recipe_is_read(place, written, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    part, option = place.split(".")
    by_file = load_recipe(recipe(tmp_path, f"{part}: {{{option}: '{written}'}}"))
    by_change = load_recipe("tiny", [f"{place}={written}"])
    for loaded in (by_file, by_change):
        assert getattr(getattr(loaded, part), option) == "/home/anna/a/b"


def test_a_nodes_own_paths_are_expanded_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    stages = "[{name: mine, stage: personalise, options: {manifest: ~/m.csv, listener: '~/l.json:L1'}}]"
    loaded = load_recipe(recipe(tmp_path, f"stages: {stages}"))
    options = section(loaded, loaded.stages[0])
    assert (options.manifest, options.listener) == ("/home/anna/m.csv", "/home/anna/l.json:L1")


def test_what_is_no_path_stays_as_it_is():
    loaded = load_recipe("tiny", ["base.model=meta-llama/Llama-3.1-8B-Instruct", "personalise.listener=N3"])
    assert (loaded.base.model, loaded.personalise.listener) == ("meta-llama/Llama-3.1-8B-Instruct", "N3")
    assert load_recipe("tiny", ["corpus.data_root=$NOT_SET/x"]).corpus.data_root == "$NOT_SET/x"


def test_a_retired_option_is_accepted_with_its_old_default_and_a_warning_and_refused_otherwise(tmp_path, capsys):
    path = tmp_path / "old.yaml"
    node = "stages: [base, ctc, align, {name: distill, stage: distill, options: {student: same}}]\n"
    path.write_text(node + "distill: {student: same, steps: 7}\n")
    recipe = load_recipe(path)
    assert recipe.distill.steps == 7 and recipe.stages[-1].options == {}
    said = capsys.readouterr().err
    assert "distill.student is no longer an option" in said and "stages.distill.options.student" in said
    path.write_text(node.replace("same", "half"))
    with pytest.raises(InputError, match=r"old\.yaml: stages\.distill\.options\.student is 'half'.* remove it"):
        load_recipe(path)
    with pytest.raises(InputError, match=r"distill\.student is 'half'"):
        load_recipe("tiny", ["distill.student=half"])


def test_a_recipe_that_extends_another_sets_its_own_options_and_has_all_others_from_there(tmp_path):
    (tmp_path / "above.yaml").write_text(
        "seed: 4\nstages: [base]\nsft: {steps: 5, rank: 2}\ncorpus: {sources: [a, b]}\n"
    )
    (tmp_path / "between.yaml").write_text("extends: above.yaml\nstages: [base, ctc]\nsft: {rank: 3}\ndpo:\n")
    loaded = load_recipe(
        recipe(tmp_path, "extends: between.yaml\nsft: {batch_size: 7}\ncorpus: {sources: [c]}"), ["seed=9"]
    )
    assert (loaded.name, loaded.seed, loaded.corpus.sources) == ("mine", 9, ("c",))
    assert (loaded.sft.steps, loaded.sft.rank, loaded.sft.batch_size) == (5, 3, 7)
    assert [node.name for node in loaded.stages] == ["base", "ctc"]


def test_a_problem_of_an_extended_recipe_names_the_file_that_has_it(tmp_path):
    (tmp_path / "above.yaml").write_text("sft: {steps: many}\n")
    with pytest.raises(InputError) as error:
        load_recipe(recipe(tmp_path, "extends: above.yaml\nsft: {rank: true}"))
    listed = sorted(error.value.problems)
    assert [problem.split(";")[0] for problem in listed] == [
        f"{tmp_path}/above.yaml: sft.steps is 'many'",
        f"{tmp_path}/mine.yaml: sft.rank is True",
    ]


@pytest.mark.parametrize(
    ("above", "said"),
    [
        (
            "extends: mine.yaml",
            r"above\.yaml: extends is mine\.yaml, which makes a circle \(mine\.yaml → above\.yaml → mi",
        ),
        ("extends: nope", r"above\.yaml: extends is nope, which was not found \(.*\); name one of .*smoke, .*tiny"),
        ("extends: 3", r"above\.yaml: extends is 3"),
    ],
)
def test_a_recipe_that_extends_itself_or_nothing_is_refused(tmp_path, above, said):
    (tmp_path / "above.yaml").write_text(f"{above}\n")
    with pytest.raises(InputError, match=said) as error:
        load_recipe(recipe(tmp_path, "extends: above.yaml"))
    assert len(error.value.problems) == 1


def test_recipes_that_extend_tiny_differ_from_it_in_what_they_set_alone():
    tiny, joint, study = (load_recipe(name) for name in ("tiny", "joint", "study"))
    sft = dataclasses.replace(tiny.sft, steps=500, safety_share=0.0, looks=8)
    own = {"name": "study", "extends": "tiny", "stages": study.stages}
    assert study == dataclasses.replace(tiny, **own, seeds=3, sft=sft)
    assert load_recipe("study_all") == dataclasses.replace(
        study, name="study_all", extends="study", stages=load_recipe("study_all").stages
    )
    enhance = dataclasses.replace(tiny.enhance, machine_weight=20.0, segment_s=2.0, steps=1200)
    assert joint == dataclasses.replace(tiny, name="joint", extends="tiny", stages=joint.stages, enhance=enhance)


def test_the_8b_recipes_state_token_limits_of_their_own():
    tiny = load_recipe("tiny")
    for name in ("llama31_8b", "llama31_8b_qlora", "llama32_1b"):
        loaded = load_recipe(name)
        assert loaded.evaluation.max_new_tokens > tiny.evaluation.max_new_tokens
        assert loaded.grpo.max_new_tokens > tiny.grpo.max_new_tokens


def test_the_study_of_a_real_model_shares_all_before_sft_with_its_recipe():
    smol, study = ({node.name: node for node in nodes(load_recipe(name))} for name in ("smol", "study_smol"))
    shared = ("base", "ctc", "align", "distill")
    assert [study[name].key for name in shared] == [smol[name].key for name in shared]
    arms = [name for name in study if name not in shared]
    assert arms == [f"{arm}{seed}" for arm in ("lora", "full", "replay_1", "kl") for seed in ("", "@1", "@2")]
    assert load_recipe("study_smol").evaluation == load_recipe("smol").evaluation
    assert all(study[name].options.looks and study[name].options.typed_rows == "text" for name in arms)
