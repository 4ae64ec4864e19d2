import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_run import HOSTILE, PARENTS, make_answers, make_run, write_answers

from posttrain import report
from posttrain.errors import InputError
from posttrain.evals.compute import compute
from posttrain.report import gate
from posttrain.report.findings import findings
from posttrain.run import ledger

KINDS = ("html", "md", "json")
GUIDE = Path(__file__).parents[2] / "docs" / "report.md"
"""The page that names the parts of a report in their order."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole made-up run, with its report."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    make_run(folder, items=60)
    report.build(folder)
    return folder


class Page(HTMLParser):
    """Tags, attributes and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "input", "br", "circle", "rect", "line", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("circle", "rect", "line", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_holds_every_part(run):
    html = (run / "report.html").read_text()
    page = Page(html)
    assert page.open == [] and len(html.encode()) < 3_000_000
    headings = re.findall("<h2>(.*?)</h2>", html)
    told = re.findall(r"^\| ([^|]+?) \| [^|]+\? \| (.*) \|$", GUIDE.read_text(), re.MULTILINE)
    assert headings == [heading for heading, read in told if read != "only after `make listeners`"]
    assert {"Gained", "Lost", "Safe?", "Took", "Trajectory", "Answers that changed"} < set(headings)
    assert page.tags.count("svg") == 4
    rows = ledger.read(run / "ledger.jsonl")
    for name in {name for row in rows for name in row.metrics if not name.startswith("cost/")}:
        assert f"<code>{name}</code>" in html
    assert re.findall(r"<code>([^<]+)</code><small>[^<]*, 50\.0 % by guessing", html) == ["reward/accuracy"]


def test_beside_every_safety_figure_stand_the_detectors_and_its_measured_error(run):
    said = json.loads((run / "report.json").read_text())
    safe = next(part["sentences"] for part in said["summary"] if part["heading"] == "Safe?")
    assert len(safe) == 4 and all("by the detector" in s and re.search(r"corrected [\d.]+ % \[", s) for s in safe)
    assert set(said["detector"]) == {"completions_gpt4.csv", "completions_llama2new.csv", "all of them"}
    for name, error in said["detector"].items():
        assert error["kappa"]["n"] == (900 if name == "all of them" else 450) and error["kappa"]["ci95"][0] > 0.6
    lines = [line for line in (run / "report.md").read_text().splitlines() if re.search(r"^\| \w+ \| harm", line)]
    figures = [n for m in said["metrics"].values() for n in m if n.startswith("safety/")]
    assert len(lines) == len(figures) - 4 == 24  # the reward row only repeats its parent's
    assert "κ of the two" in (run / "report.html").read_text()
    assert all("corrected" in line for line in report.summary(ledger.read(run / "ledger.jsonl")) if "harm" in line)


def test_the_trajectory_is_that_of_the_saved_answers_and_zero_where_they_are_equal(run, tmp_path):
    found = json.loads((run / "report.json").read_text())["trajectory"]
    assert found["stages"] == ["base", "align", "distill", "sft", "dpo", "grpo"]
    assert set(found["figures"]) == {"acc", "bwt", "forgetting", "fg", "fg_above_chance"}
    rows = {row.stage: row.metrics for row in ledger.read(run / "ledger.jsonl")}
    for name, ability in found["abilities"].items():
        assert ability["accuracy"] == pytest.approx([rows[stage][name]["value"] for stage in found["stages"]])
        assert ability["won"] - ability["lost"] == pytest.approx(60 * rows["grpo"][name]["delta_vs_base"])
        assert ability["p"] == pytest.approx(rows["grpo"][name]["p_vs_base"])
    assert found["figures"]["bwt"]["value"] < 0 < found["figures"]["fg"]["value"]
    assert "| BWT | −" in (run / "report.md").read_text()
    folder = tmp_path / "made"
    make_run(folder, ["base", "ctc", "align", "distill"], items=12, bootstrap=20)
    report.build(folder)
    still = json.loads((folder / "report.json").read_text())["trajectory"]
    assert {f["value"] for name, f in still["figures"].items() if name != "acc"} == {0.0}
    (folder / "base" / "answers.jsonl").unlink()
    text = (folder / "ledger.jsonl").read_text().replace(str(folder), str(tmp_path / "gone" / "made"))
    (folder / "ledger.jsonl").write_text(text)
    report.build(folder)
    assert json.loads((folder / "report.json").read_text())["trajectory"] is None


def test_nothing_is_fetched_and_hostile_text_stays_text(run):
    html = (run / "report.html").read_text()
    page = Page(html)
    assert page.tags.count("script") == 1 and page.tags.count("style") == 1
    assert not {"img", "link", "iframe", "object", "base"} & set(page.tags)
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] in ("src", "srcdoc", "action")]
    assert {a[2] for a in page.attributes if a[1] == "href"} == {"#main"}
    assert not re.search(r"https?:|//\w|@import|url\(", html)
    words = " ".join(" ".join(page.text).split())
    assert "alert(1)" in words and "{{ 7*7 }}" in words and "<script>alert(" not in html
    markdown = (run / "report.md").read_text()
    assert "alert" in markdown and "<script" not in markdown and "<img" not in markdown
    assert not re.search(r"(?<!\\)\]\(", markdown)


def test_a_hostile_run_name_and_stage_are_escaped(tmp_path):
    folder = tmp_path / "made"
    rows = make_run(folder, ["base", "ctc", "align"], items=6, bootstrap=20)
    (folder / "ledger.jsonl").unlink()
    for row in rows:
        name = HOSTILE.replace("/", "")  # with a slash it is no name of a folder, and is refused
        ledger.put(folder / "ledger.jsonl", row | {"run": name, "stage": row["stage"] + name, "code": HOSTILE})
    page = Page(report.build(folder).read_text())
    assert page.tags.count("script") == 1 and "img" not in page.tags
    assert "<script" not in (folder / "report.md").read_text()


@pytest.mark.parametrize("count", range(1, len(PARENTS) + 1))
def test_a_run_that_stopped_anywhere_has_a_report(tmp_path, count):
    folder = tmp_path / "made"
    make_run(folder, list(PARENTS)[:count], items=12, bootstrap=30)
    Page(report.build(folder).read_text())
    said = json.loads((folder / "report.json").read_text())
    assert said["stages"] == list(PARENTS)[:count]
    assert 1 < len(report.summary(ledger.read(folder / "ledger.jsonl"))) <= 12


@pytest.mark.parametrize("stages", [[], list(PARENTS)])
def test_an_enhancer_beside_the_models_has_its_figures_and_changes_no_other(tmp_path, stages):
    folder = tmp_path / "made"
    before = report.summary([ledger.Row(**row) for row in make_run(folder, stages, items=12, bootstrap=30)])
    lines = [
        {"id": str(i), "probe": f"enhance/{name}", "speaker": str(i % 3), "value": db + i if i else None}
        for name, db in (
            ("si_sdr_gain/made/snr0", 3.0),
            ("si_sdr_gain/made/snr20", -9.0),
            ("ear_gain/made/N3", 2.0),
            ("clean/made/on", 30.0),
        )
        for i in range(6)
    ]
    (folder / "enhance").mkdir(parents=True)
    (folder / "enhance" / "answers.jsonl").write_text("\n".join(map(json.dumps, lines)))
    row = dict.fromkeys(("code", "base", "data", "device"), "x") | {"run": "made", "stage": "enhance", "seed": 0}
    row |= {"checkpoint": str(folder / "enhance"), "config": {"stage": "enhance"}, "parents": {}, "train_metrics": {}}
    row |= {"started": "2026-01-02T03:04:05+00:00", "wall_s": 9.0, "metrics": compute(lines)}
    ledger.put(folder / "ledger.jsonl", row)
    html = report.build(folder).read_text()
    assert "SI-SDR improvement at 0 dB, made" in html and "6.00 dB" in html
    assert "improvement in the ear of a listener with N3, made" in html
    said = report.summary(ledger.read(folder / "ledger.jsonl"))
    assert len(said) <= 12
    [about] = [line for line in said if line.startswith("Denoise")]
    assert "SI-SDR at 0 dB: made +6.00 dB [" in about and "; harm: made at 20 dB −6.00 dB [" in about
    assert html.count("harm</span>") == 1 and "**harm**" in (folder / "report.md").read_text()
    [reason] = gate.judge(folder, "enhance", "smoke").reasons
    assert reason.startswith("enhance does harm: SI-SDR improvement at 20 dB, made: −6.00 dB [")
    assert not stages or reason in gate.judge(folder, recipe="smoke").notes
    if stages:
        assert said[1:3] == before[1:3]


@pytest.mark.parametrize("stages", [["ctc"], ["ctc", "base"], ["base", "align"], ["ctc", "align", "distill"]])
def test_a_ledger_without_some_of_its_rows_has_a_report(tmp_path, stages):
    make_run(tmp_path / "made", stages, items=12, bootstrap=30)
    html = report.build(tmp_path / "made").read_text()
    assert "nan" not in re.findall(r"\b\w+\b", re.sub(r"<style>.*?</style>", "", html, flags=re.S).lower())


def test_the_same_ledger_and_answers_give_the_same_bytes_wherever_they_are(run, tmp_path, monkeypatch):
    first = {kind: (run / f"report.{kind}").read_bytes() for kind in KINDS}
    copy = tmp_path / "elsewhere" / "made"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("report.*"))
    monkeypatch.chdir(tmp_path)
    report.build(copy)
    assert {kind: (copy / f"report.{kind}").read_bytes() for kind in KINDS} == first
    assert not list(copy.glob("*.partial"))


def test_the_report_reads_the_ledger_and_the_answers_alone(run, tmp_path):
    copy = tmp_path / "made"
    shutil.copytree(run, copy)
    before = {p.relative_to(copy): p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    report.build(copy)
    assert {p.relative_to(copy): p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before
    (copy / "grpo" / "answers.jsonl").unlink()
    (copy / "ledger.jsonl").write_text(
        (copy / "ledger.jsonl").read_text().replace(str(run), str(tmp_path / "gone" / "made"))
    )
    assert "No saved answers were found of: grpo" in report.build(copy).read_text()


def test_changed_answers_are_counted_all_and_shown_worst_first(tmp_path):
    folder = tmp_path / "made"
    make_run(folder, ["base", "ctc", "align"], items=30, bootstrap=20)
    lines = make_answers("base", 30)
    flipped = 0
    for line in lines:
        if line["probe"] == "ability/copy_easy" and line["score"] == 1 and flipped < 12:
            line |= {"output": f"wrong {flipped}", "score": 0.0}
            flipped += 1
        elif line["probe"] == "ability/copy_hard" and line["score"] == 1:
            line["output"] = line["output"].upper()
    spoken = [line for line in make_answers("ctc", 30) if line.get("clip")]
    write_answers(folder / "align", lines + spoken)
    page = report.build(folder).read_text()
    counts = {c["probe"]: c for c in json.loads((folder / "report.json").read_text())["changed"]}
    copied = counts["ability/copy_easy"]
    assert (copied["n"], copied["changed"], copied["lost"], copied["won"]) == (30, 12, 12, 0)
    assert (copied["before"], copied["after"]) == ("base", "align")
    assert counts["ability/copy_hard"]["lost"] == counts["ability/copy_hard"]["won"] == 0
    assert counts["ability/copy_hard"]["changed"] > 0
    assert "12 of 30 changed: 12 worse, 0 better; 8 shown" in page
    assert set(counts) == {"ability/copy_easy", "ability/copy_hard"}


def test_spoken_items_on_base_and_encoder_are_compared_with_the_cascade(run):
    changes = json.loads((run / "report.json").read_text())["changed"]
    first = {c["probe"]: c["before"] for c in changes if c["after"] == "align"}
    assert first["wer/clean"] == "ctc"
    last = {c["probe"]: c for c in changes if c["after"] == "grpo" and c["before"] in ("base", "ctc")}
    assert last["ability/sum_hard"]["before"] == "base" and last["task/intent"]["before"] == "ctc"


def test_long_answers_are_cut_and_the_page_stays_small(tmp_path):
    folder = tmp_path / "made"
    make_run(folder, ["base", "ctc", "align"], items=20, bootstrap=20)
    lines = make_answers("align", 20)
    for line in lines:
        if "output" in line:
            line["output"] = "<&> " * 20_000
    write_answers(folder / "align", lines)
    assert report.build(folder).stat().st_size < 3_000_000
    assert (folder / "report.md").stat().st_size < 1_000_000


def test_a_broken_answer_or_ledger_is_named(run, tmp_path):
    copy = tmp_path / "made"
    shutil.copytree(run, copy)
    (copy / "sft" / "answers.jsonl").write_text('{"id": "a", "probe": "b"}\n{"id": 1}\n')
    with pytest.raises(InputError, match=r"sft.answers\.jsonl, line 2"):
        report.build(copy)
    (copy / "ledger.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"ledger\.jsonl, line 1"):
        report.build(copy)
    with pytest.raises(InputError, match="no finished stage"):
        report.build(tmp_path)


def test_the_summary_says_what_the_made_run_was_made_to_show(run):
    rows = ledger.read(run / "ledger.jsonl")
    lines = report.summary(rows)
    assert len(lines) <= 12 and all("\n" not in line for line in lines)
    said = "\n".join(lines)
    assert "below the encoder's own" in said and "commands" in said
    assert "dpo: preferred answers +" in said and "may be chance" not in said.partition("dpo:")[2].partition(";")[0]
    assert "mean relative drop" in said and "more than chance" in said
    assert "16 min 0 s, 17 % of it evaluation (2 min 40 s), at most 2.3 GB" in said
    assert lines[-1].endswith(str(Path(rows[-1].checkpoint).parent / "report.html"))
    assert report.summary([]) == ["no stage is finished yet"]


@pytest.mark.parametrize(
    ("interval", "p", "tone"), [((-0.07, 0.12), 0.7, ""), ((0.01, 0.12), 1e-9, "won"), ((-0.12, -0.01), 1e-9, "lost")]
)
def test_only_what_surely_rose_is_a_gain(run, interval, p, tone):
    """The same rule on the page and in the terminal; beside it stands against which stage."""
    *rows, last = ledger.read(run / "ledger.jsonl")
    rows = [row for row in rows if row.stage not in ("distill", "reward")]
    delta = sum(interval) / 2
    fields = {"delta_vs_base": delta, "delta_ci95": list(interval), "p_vs_base": p}
    aim = {"delta_vs_parent": -0.1, "delta_parent_ci95": [-0.2, -0.05]}
    changed = {"task/spoken_qa": fields, "grpo/reward": aim}
    figures = {name: metric | changed.get(name, {}) for name, metric in last.metrics.items()}
    rows.append(dataclasses.replace(last, metrics=figures))
    said = "\n".join(report.summary(rows))
    gained, _, lost = said.partition("Gained")[2].partition("Lost")
    surely, _, rest = gained.partition("\n")[0].partition("not shown: ")
    where = {"won": "questions" in surely, "": "questions" in rest, "lost": "spoken question answered" in lost}
    assert [name for name, there in where.items() if there] == [tone]
    assert "dpo: preferred answers +" in gained and "against sft" in gained
    assert "grpo: reward −10.0 points [−20.0, −5.0] against dpo" in lost and "grpo: reward" not in gained
    found = {heading: {f.what: f for f in under} for heading, under in findings(rows)}
    assert "mean verifiable reward" in found["Lost"] and "mean verifiable reward" not in found["Gained"]
    about = found["Lost" if tone == "lost" else "Gained"]["spoken question answered"]
    assert about.tone == tone and ("no gain shown" in about.verdict) == (tone == "")


def test_a_loss_that_chance_can_do_is_not_called_one(tmp_path):
    make_run(tmp_path / "made", ["base", "ctc", "align", "distill"], items=40, bootstrap=60)
    rows = ledger.read(tmp_path / "made" / "ledger.jsonl")
    said = "\n".join(report.summary(rows))
    assert "mean relative drop 0.0 %" in said and "nothing shown" in said
    found = json.loads(report.build(tmp_path / "made").with_suffix(".json").read_text())
    lost = next(s["sentences"] for s in found["summary"] if s["heading"] == "Lost")
    assert len(lost) == 2 and "nothing that chance could not do" in lost[0]
    assert lost[1].startswith("No loss of a typed ability is sure")


def test_a_branch_counts_the_time_and_the_gains_of_its_own_stages(run, tmp_path):
    branch = tmp_path / "branch"
    made = ledger.read(run / "ledger.jsonl")
    for row in made[:4]:
        ledger.put(branch / "ledger.jsonl", row.as_dict() | {"run": "branch"})
    sft = made[4].as_dict() | {"run": "branch", "checkpoint": str(branch / "sft")}
    ledger.put(branch / "ledger.jsonl", sft)
    shutil.copytree(run / "sft", branch / "sft")
    rows = ledger.read(branch / "ledger.jsonl")
    said = report.summary(rows)
    assert any("1 stage in 2 min 0 s" in line and "4 more taken from another run" in line for line in said)
    assert said[-1].endswith(str(branch / "report.html"))
    assert "KL to the teacher" not in str(said) and "KL to the teacher" in str(report.summary(made))
    report.build(branch)
    assert json.loads((branch / "report.json").read_text())["without_answers"] == []
