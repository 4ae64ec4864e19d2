"""What notebooks show: tables, players, pictures and plots; what they make is tried with the notebooks themselves."""

import base64
import io
import re

import numpy as np
import soundfile
import torch
from markupsafe import Markup
from matplotlib import image

from posttrain.acoustics.audiogram import bisgaard
from posttrain.cli import notebook
from posttrain.report.listener_page import audiogram_plot
from posttrain.run.ledger import Row


def row(**metrics: dict) -> Row:
    found = {name.replace("__", "/"): metric for name, metric in metrics.items()}
    return Row(
        "toy", "sft", "toy/sft", {}, {}, "abc", "tiny", "f00d", 0, "cpu", "2026-01-02T03:04:05+00:00", 1.0, {}, found
    )


def test_measure_shows_value_interval_and_n_and_a_dash_where_there_is_none():
    rows = {
        "before": row(wer__clean={"value": 0.25, "n": 1200, "ci95": [0.2, 0.31]}),
        "after": row(cost__peak_rss_mb={"value": 2345.6}),
    }
    shown = notebook.measure(["wer/clean", "cost/peak_rss_mb"], rows).data
    cells = re.findall(r"<td[^>]*>(.*?)</td>", shown)
    assert cells == ["word errors, clean", "25.0 % [20.0, 31.0], n = 1,200", "–", "peak memory", "–", "2.3 GB"]


def test_a_table_escapes_its_text_and_keeps_markup():
    shown = notebook.table(["<i>"], [("<script>",), (Markup("<b>sure</b>"),)]).data
    assert "<script>" not in shown and "<th>&lt;i&gt;</th>" in shown and "<b>sure</b>" in shown


def test_players_keep_levels_apart_and_cut_nothing_off():
    tone = np.sin(np.arange(1600) / 5).astype(np.float32)
    shown = notebook.players({"loud": torch.from_numpy(4 * tone), "soft": tone}).data
    sounds = [base64.b64decode(wav) for wav in re.findall(r"data:audio/wav;base64,([^\"]+)", shown)]
    loud, soft = (soundfile.read(io.BytesIO(wav)) for wav in sounds)
    assert loud[1] == soft[1] == 16_000
    np.testing.assert_allclose(loud[0], 4 * soft[0], atol=2e-4)
    assert 0.99 < np.abs(loud[0]).max() <= 1


def test_pictures_share_one_scale_of_colours():
    dark, bright = torch.zeros(3, 4), torch.ones(3, 4)
    alone, beside = (
        image.imread(io.BytesIO(notebook.pictures(matrices, "x", "y", ["a", "b", "c"]).data))
        for matrices in ({"dark": dark}, {"dark": dark, "bright": bright})
    )
    assert alone.shape == beside.shape
    middle = beside.shape[0] // 2
    left, right = (beside[middle, int(share * beside.shape[1])] for share in (0.2, 0.7))
    assert np.abs(left - right).max() > 0.5


def test_a_plot_comes_in_a_frame_with_the_reports_own_style():
    shown = notebook.chart(audiogram_plot(bisgaard("N3"))).data
    [frame] = re.findall(r'srcdoc="([^"]*)"', shown)
    page = Markup(frame).unescape()
    assert "--accent:" in page and page.count("<svg") == 1 and "left ear" in page
    assert "<style>" not in shown


def test_without_a_gpu_the_plan_and_its_memory_are_shown(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert notebook.on_gpu("llama31_8b", until="align") is None
    printed = capsys.readouterr().out
    assert re.search(r"^align +run .*GiB", printed, re.MULTILINE) and "sft" not in printed
    assert list(tmp_path.iterdir()) == []
