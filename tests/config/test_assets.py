"""Entries of adapters/ and data/, in the project or bundled in a wheel."""

import pytest

from posttrain.config import assets
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
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "posttrain" / "config" / "assets.py"))
    assert assets.names("adapters") == ["mine"]
    assert assets.path("adapters", "mine").read_text() == "summary: x\n"


def test_a_link_to_a_file_elsewhere_is_an_entry(tmp_path, monkeypatch):
    """As in an installation that is all links."""
    (tmp_path / "posttrain" / "bundled" / "data").mkdir(parents=True)
    (tmp_path / "blob").write_text("name: mine\n")
    (tmp_path / "posttrain" / "bundled" / "data" / "mine.yaml").symlink_to(tmp_path / "blob")
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "posttrain" / "config" / "assets.py"))
    assert assets.path("data", "mine").read_text() == "name: mine\n"
    with pytest.raises(InputError, match="has no entry"):
        assets.path("data", "../../../blob")
