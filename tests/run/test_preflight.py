"""What is refused before a run starts."""

import huggingface_hub
import pytest
from safetensors.torch import load_file, save_file

from posttrain.config import recipe as config
from posttrain.errors import InputError
from posttrain.model.encoders import parakeet
from posttrain.model.folder import check_folder
from posttrain.run import preflight, runner


def problems(tmp_path, *changes: str) -> str:
    """What a run of the tiny recipe with these changes is refused for."""
    recipe = config.load_recipe("tiny", list(changes))
    with pytest.raises(InputError) as error:
        preflight.check(recipe, tmp_path / "run", runner.plan(recipe, tmp_path / "run"))
    return "\n".join(error.value.problems)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("base.heads=5", "base.hidden_size is"),
        ("base.kv_heads=4", "expected a multiple of base.kv_heads = 4"),
        ("ctc.heads=7", "ctc.hidden_size is"),
        ("device=gpu", "device is gpu"),
        ("report_to=[nowhere_board]", "nowhere_board, which is not installed"),
        ("sft.adapter=lorra", "lorra"),
        ("{sft.adapter=full,sft.rank=4}", "rank is 4, but adapter full"),
        ("{sft.adapter=dora,sft.keep_change=0.5}", "the change of adapter dora cannot be scaled"),
        ("{sft.replay_share=0.6,sft.safety_share=0.4}", "leave nothing for the tasks"),
        ("{base.model=./llama,sft.kl_weight=1}", "sft: typed_rows is world, which ./llama never learned"),
        ("corpus.sources=[fsdd]", "data_root"),
        ("base.model=some/model/folder", "some/model/folder not found"),
        ("ctc.model=nobody/nothing", "not in the cache and HF_HUB_OFFLINE is set"),
    ],
)
def test_what_does_not_go_together_or_cannot_be_had_is_named(tmp_path, change, named):
    assert named in problems(tmp_path, *change.strip("{}").split(","))


def test_rows_of_the_tiny_world_are_not_replayed_to_a_person_of_another_base(tmp_path):
    recipe = config.load_recipe("tiny", ["base.model=./llama"])
    with pytest.raises(InputError, match="personalise: typed_rows is world, which"):
        preflight.check(recipe, tmp_path, runner.plan(recipe, tmp_path, until="personalise"))


def test_a_whole_folder_of_a_llama_or_a_parakeet_passes(base_folder, tmp_path):
    check_folder(base_folder, "llama")
    parakeet.tiny(16, 1, 2, 4, 8, 80).save(tmp_path / "ctc")
    check_folder(tmp_path / "ctc", "encoder")
    recipe = config.load_recipe("tiny", [f"base.model={base_folder}", f"ctc.model={tmp_path / 'ctc'}"])
    preflight.check(recipe, tmp_path / "run", runner.plan(recipe, tmp_path / "run"))


def test_weights_of_another_shape_or_missing_are_named(base_folder):
    path = base_folder / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.0.self_attn.q_proj.weight"
    weights[name] = weights[name][:-1].clone()
    del weights["model.norm.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError) as error:
        check_folder(base_folder, "llama")
    listed = "\n".join(error.value.problems)
    assert f"{name} is (63, 64), expected (64, 64)" in listed
    assert "model.norm.weight is missing" in listed


def test_a_file_that_is_cut_off_is_named(base_folder, tmp_path):
    path = base_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    assert "model.safetensors cannot be read" in problems(tmp_path, f"base.model={base_folder}")


def test_a_folder_of_another_model_or_without_its_tokenizer_is_named(base_folder, tmp_path):
    assert "model_type is llama, expected an encoder's" in problems(tmp_path, f"ctc.model={base_folder}")
    parakeet.tiny(16, 1, 2, 4, 8, 80).save(tmp_path / "ctc")
    assert "holds a parakeet_ctc model, expected llama" in problems(tmp_path, f"base.model={tmp_path / 'ctc'}")


def test_a_hub_that_is_out_of_reach_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    assert "ctc.model: nobody/nothing cannot be had (ConnectError" in problems(tmp_path, "ctc.model=nobody/nothing")
