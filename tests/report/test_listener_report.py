"""Listeners in the report: the table, what is said of them, and each one's page, whole and escaped."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile
from made_run import HOSTILE, make_run

from posttrain import report
from posttrain.acoustics.audiogram import Audiogram
from posttrain.acoustics.mixtures import Mixture
from posttrain.evals.compute import compute
from posttrain.evals.hearing.listener_metrics import PROCESSINGS
from posttrain.evals.hearing.listeners import Heard
from posttrain.report import listener_page, listeners
from posttrain.run import ledger
from tests.report.test_report import Page as ReportPage

RATE = 16_000
WHO = Audiogram("L1", (250.0, 1000.0, 4000.0), (20.0, 40.0, 60.0), (10.0, 30.0, 50.0))


class Page(ReportPage):
    """With pictures, which have no end tag."""

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if tag == "img":
            self.open.pop()


def line(probe: str, i: int) -> dict:
    return {"probe": probe, "id": f"{probe}/{i}", "clip": f"{i}", "speaker": f"v{i}"}


def lines(better: float = 0.2) -> list[dict]:
    """Ten clips: NAL-R is as unaided, enhanced + NAL-R is better by so much; of 4 words one less is wrong."""
    found = []
    for processing in PROCESSINGS:
        for measure, value in (("haspi", 0.5), ("si_sdr", 4.0), ("words", 0.6)):
            probe = f"listener/{measure}/made/L1/snr5/{processing}"
            values = [value + better * (processing == "enhanced_nalr") + i / 100 for i in range(10)]
            found += [line(probe, i) | {"value": x} for i, x in enumerate(values)]
    for probe, errors in (("wer_enhanced/snr0", 2), ("wer_unenhanced/snr0", 1)):
        counts = {"errors": errors, "words": 4, "encoder_errors": 1, "output": HOSTILE}
        found += [line(probe, i) | counts for i in range(10)]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A made-up run with an enhance stage that was measured for listeners."""
    folder = tmp_path_factory.mktemp("runs") / "heard"
    [row] = make_run(folder, ["base"], items=4, bootstrap=20)
    row |= {
        "stage": "enhance",
        "checkpoint": str(folder / "enhance"),
        "metrics": compute(lines(), bootstrap=50),
    }
    row["config"] = {"stage": "enhance", "listeners": {"listeners": ["L1"], "model": HOSTILE}}
    ledger.put(folder / "ledger.jsonl", row)
    (folder / "listeners").mkdir()
    (folder / "listeners" / "L1.html").write_text("a page")
    report.build(folder)
    return folder


def test_the_report_has_a_table_of_listeners_and_a_link_to_the_page_that_is_there(run):
    html = (run / "report.html").read_text()
    page = Page(html)
    assert page.open == [] and "Listener by listener" in page.text
    assert ("a", "href", "listeners/L1.html") in page.attributes
    for part in ("L1, enhanced + NAL-R", "HASPI, n = 10", "5 dB, made speech", "+0.200 [0.200, 0.200]"):
        assert part in " ".join(page.text), part
    assert "<script>alert" not in html and "<code>listener/" not in html
    markdown = (run / "report.md").read_text()
    assert "## Listeners, 5 dB, made speech" in markdown and "+0.200" in markdown


def test_what_is_said_has_its_interval_its_n_and_both_directions(run):
    summary = json.loads((run / "report.json").read_text())["summary"]
    said = " ".join(next(part["sentences"] for part in summary if part["heading"] == "Heard"))
    assert "HASPI, L1, enhanced + NAL-R, 5 dB, made: 0.745" in said and "against NAL-R alone, n = 10" in said
    assert "word errors, through the enhancer, 0 dB: 50.0 %" in said and "+25.0 points" in said
    tones = {finding.what: finding.tone for finding in listeners.findings(ledger.read(run / "ledger.jsonl"))}
    assert tones["HASPI, L1, enhanced + NAL-R, 5 dB, made"] == "won"
    assert tones["word errors, through the enhancer, 0 dB"] == "lost"


def test_a_run_without_listeners_says_nothing_of_them(tmp_path):
    make_run(tmp_path / "plain", ["base", "ctc"], items=4, bootstrap=20)
    report.build(tmp_path / "plain")
    assert "Listener by listener" not in (tmp_path / "plain" / "report.html").read_text()


def place(number: int) -> Heard:
    time = np.arange(RATE) / RATE
    clean = (np.sin(2 * np.pi * 500 * time) * (np.sin(9 * time) > 0)).astype(np.float32)
    noise = np.random.default_rng(number).standard_normal(RATE).astype(np.float32)
    noisy = clean + 0.3 * noise
    waveforms = {"unaided": noisy, "nalr": 4 * noisy, "enhanced": 0.5 * noisy, "enhanced_nalr": 2 * noisy}
    mixture = Mixture(f"{number}", HOSTILE, "rain", 5.0, noisy, clean)
    return Heard(mixture, "made", WHO, "right", clean, clean, waveforms)


def test_a_listeners_page_is_whole_and_refers_to_nothing_outside(run):
    [row] = [row for row in ledger.read(run / "ledger.jsonl") if row.stage == "enhance"]
    written = listener_page.write(run, row, [place(n) for n in range(3)], {str(n): HOSTILE for n in range(3)})
    html = written.read_text()
    page = Page(html)
    assert page.open == [] and written == run / "listeners" / "L1.html" and len(html.encode()) < 3_000_000
    assert page.tags.count("svg") == 2 and page.tags.count("img") == 10 and page.tags.count("audio") == 20
    assert "<script" not in html and "onerror=alert(1)>" not in html
    sources = [value for _, name, value in page.attributes if name == "src"]
    assert len(sources) == 30 and all(source.startswith(("data:image/png;", "data:audio/flac;")) for source in sources)
    assert [value for _, name, value in page.attributes if name == "href"] == ["../report.html"]
    assert "left, 1000 Hz: 40 dB HL" in html and "+0.200" in html


def test_clips_are_played_on_one_scale():
    parts = {part["name"]: part for part in listener_page._clip(place(0), "words")["parts"]}

    def level(uri: str) -> float:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert rate == RATE and np.abs(samples).max() <= 1
        return float(np.sqrt(np.square(samples).mean()))

    ratio = level(parts["NAL-R"]["at_ear"]) / level(parts["unaided"]["at_ear"])
    assert ratio == pytest.approx(4, rel=0.01)
    assert level(parts["unaided"]["heard"]) < level(parts["unaided"]["at_ear"])


def test_the_enhancers_gain_is_power_out_against_power_in():
    assert listener_page.enhancer_gain([place(0), place(1)]) == pytest.approx(-6.02, abs=0.01)
