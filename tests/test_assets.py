"""Entries of adapters/ and data/, in the project or bundled in a wheel."""

import pytest

from posttrain import assets
from posttrain.errors import InputError


def test_an_entry_is_found_by_its_name_or_its_file():
    assert assets.path("adapters", "lora") == assets.path("adapters", "lora.yaml")
    assert assets.path("data", "fsdd").name == "fsdd.yaml"
    assert "lora" in assets.names("adapters")


@pytest.mark.parametrize("name", ["lorra", "", ".", "..", "../README.md", "/etc/passwd"])
def test_what_is_not_an_entry_is_refused_with_those_there_are(name):
    with pytest.raises(InputError, match=r"adapters has no entry .*lora, projector"):
        assets.path("adapters", name)


def test_a_wheel_uses_its_own_copy(tmp_path, monkeypatch):
    (tmp_path / "posttrain" / "bundled" / "adapters").mkdir(parents=True)
    (tmp_path / "posttrain" / "bundled" / "adapters" / "mine.yaml").write_text("summary: x\n")
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "posttrain" / "assets.py"))
    assert assets.names("adapters") == ["mine"]
    assert assets.path("adapters", "mine").read_text() == "summary: x\n"
