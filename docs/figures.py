"""Fill the blocks of figures in README.md and docs/ from finished runs, and say which blocks are stale.

`python docs/figures.py` fills every block whose runs are finished, `python docs/figures.py runs/tiny` those of that
run, and `python docs/figures.py --check` says how each block stands: status 1 where one is stale without saying so.

A block lies between two lines: `<!-- figures: KIND; from=RUN,…; command=…; commit=…; code=STAGE:HASH,… -->` and
`<!-- /figures -->`. The code is that of the stages on which its figures depend (`machine.source.stage_code`), as the
run's ledger has it. Once the code of one of them changes, the block is stale: run its command and this script, or add
`; stale=REASON`, which the page then shows. `; until=STAGE` is for a run that has been made up to that stage. No figure
is typed by hand: `unstamped` finds what is outside of a block.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from posttrain.errors import InputError
from posttrain.machine.source import stage_code
from posttrain.report import summary
from posttrain.report.compare import compare
from posttrain.report.findings import costs
from posttrain.report.lineage import kind
from posttrain.report.listeners import measured
from posttrain.report.markdown import listener_tables, table
from posttrain.report.words import between, change, duration, label, number, unit
from posttrain.run import ledger
from posttrain.run.ledger import Row

ROOT = Path(__file__).parent.parent
START = re.compile(r"^<!-- figures: (\w+); (.*) -->$", re.MULTILINE)
END = "<!-- /figures -->"
INTERVAL = re.compile(r"\[[−-]?\d+(\.\d+)?, [−-]?\d+(\.\d+)?\]")
MEASURED = re.compile(r"\d\.\d+ ?(%|points|dB)|\d min\b|[+−]\d+\.\d")
RECORD = "record"
"""Kind of a block that shows what figures were before something was fixed; it is never filled again."""
PIPELINE = ("base", "ctc", "align", "distill", "sft", "reward", "dpo", "grpo")
HEARING = ("base", "ctc", "align", "distill", "sft")


@dataclass(frozen=True)
class Kind:
    """One sort of block."""

    stages: tuple[str, ...]
    """Whose code its figures depend on, as `stage_code` names them."""
    render: Callable[[list[Path]], str]
    """Runs' folders → Markdown."""
    file: str = ""
    """Where figures are not from a ledger: the JSON file in the folder, which names their code too."""


@dataclass(frozen=True)
class Block:
    """One block of a document."""

    document: Path
    kind: str
    fields: dict[str, str]
    """from, command, commit, code; stale where it is known to be old; until where the run ends at that stage."""
    text: str
    """All of it, markers included."""

    @property
    def runs(self) -> list[Path]:
        """The runs that it is from."""
        return [Path(run) for run in self.fields["from"].split(",")]

    @property
    def stages(self) -> list[str]:
        """The stages on whose code its figures depend."""
        until = self.fields.get("until", PIPELINE[-1])
        later = PIPELINE[PIPELINE.index(until) + 1 :]
        return [stage for stage in KINDS[self.kind].stages if stage not in later]

    @property
    def code(self) -> dict[str, str]:
        """Stage → hash of the code that made the figures."""
        return dict(part.split(":", 1) for part in self.fields["code"].split(",") if part)

    @property
    def where(self) -> str:
        """Document and kind, for messages."""
        return f"{self.document.name}, block `{self.kind}`"


def documents() -> list[Path]:
    """Every document that may have figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path) -> Iterator[Block]:
    """The document's blocks, in order. InputError where one has no end, or its first line lacks a field."""
    content = document.read_text(encoding="utf-8")
    for found in START.finditer(content):
        end = content.find(END, found.end())
        again = START.search(content, found.end())
        if end < 0 or (again and again.start() < end):
            raise InputError(f"{document}: a block of figures has no end; put {END} behind it")
        fields = dict(part.split("=", 1) for part in found[2].split("; ") if "=" in part)
        missing = [name for name in ("from", "command", "commit", "code") if name not in fields]
        if missing or found[1] not in KINDS:
            raise InputError(f"{document}: block {found[1]} lacks {', '.join(missing) or 'a kind that is known'}")
        yield Block(document, found[1], fields, content[found.start() : end + len(END)])


def unstamped(content: str) -> list[str]:
    """Lines with measured figures outside of every block: an interval, or in a table or a block of text a share, a
    difference or a time."""
    left = re.sub(r"<!-- (figures|options): .*?<!-- /\1 -->", "", content, flags=re.DOTALL)
    found, fenced = [], ""
    for line in left.splitlines():
        if line.startswith("```"):
            fenced = "" if fenced else line
        told = line.startswith("|") or fenced == "```text"
        if INTERVAL.search(line) or (told and MEASURED.search(line)):
            found.append(line)
    return found


def changed(block: Block) -> list[str]:
    """The stages whose code is other than that which made the block's figures; a record is always old."""
    if block.kind == RECORD:
        return [RECORD]
    return [stage for stage in block.stages if block.code.get(stage) != stage_code(stage)]


def problem(block: Block) -> str:
    """What is wrong with a block's age, and what to do; empty where nothing is."""
    stale, reason = changed(block), block.fields.get("stale")
    if stale and not reason:
        return (
            f"{block.where}: made at {block.fields['commit']} by other code of {', '.join(stale)}; run "
            f"`{block.fields['command']}` and `make figures`, or add `; stale=REASON` to its first line"
        )
    if reason and not stale:
        return f"{block.where}: marked stale ({reason}), but its code is this one; run `make figures`"
    if _said(block.fields) not in block.text:
        return f"{block.where}: the line that says where it is from is not {_said(block.fields)!r}; run `make figures`"
    return ""


def fill(block: Block) -> str:
    """The block with its figures from its runs, and the commit and code that made them.

    InputError where a run is not finished, or was made before the code of its stages was recorded.
    """
    if file := KINDS[block.kind].file:
        measured = json.loads((block.runs[0] / file).read_text(encoding="utf-8"))
        made = measured.get("code", {})
        if not made or measured.get("checkpoint", "") is None:
            raise InputError(f"{block.where}: {file} is of old code or of no run; run `{block.fields['command']}`")
        commits, code = made["version"].partition("+")[0], f"{block.kind}:{_training(made)}"
    else:
        rows = {run: ledger.read(run / "ledger.jsonl") for run in block.runs}
        missing = [str(run) for run, found in rows.items() if not found]
        if missing:
            raise InputError(f"{block.where}: {', '.join(missing)} has no ledger; run `{block.fields['command']}`")
        commits, code = _recorded(block, [row for found in rows.values() for row in found])
    fields = {"from": block.fields["from"], "command": block.fields["command"], "commit": commits, "code": code}
    fields |= {"until": block.fields["until"]} if "until" in block.fields else {}
    head = "; ".join(f"{name}={value}" for name, value in fields.items())
    shown = KINDS[block.kind].render(block.runs).strip()
    return "\n\n".join([f"<!-- figures: {block.kind}; {head} -->", _said(fields), shown, END])


def _said(fields: dict[str, str]) -> str:
    """The visible line of a block."""
    if fields["commit"] == "none":
        return f"*`{fields['command']}` has not been run on this code yet.*"
    if reason := fields.get("stale"):
        return f"*From an earlier commit (`{fields['commit']}`), by `{fields['command']}`: {reason}.*"
    return f"*By `{fields['command']}` at commit `{fields['commit']}`.*"


def _recorded(block: Block, rows: list[Row]) -> tuple[str, str]:
    """Commits of the code that made the rows, and STAGE:HASH of every stage that the block depends on."""
    stages = block.stages
    code: dict[str, set[str]] = {stage: set() for stage in stages}
    commits: dict[str, None] = {}
    for row in rows:
        if kind(row) in stages:
            commits[row.code.partition("+")[0]] = None
            code[kind(row)].add(_training(row.config.get("code")))
            code["evaluation"].add(_training(row.config.get("evaluation_code")))
            if "listeners" in code and kind(row) == "enhance":
                code["listeners"].add(_training((row.config.get("listeners") or {}).get("code")))
            corpus = Path(row.checkpoint).parent / "corpus" / "code.json"
            if corpus.is_file():
                code["corpus"].add(_training(json.loads(corpus.read_text(encoding="utf-8"))))
    unknown = [stage for stage, hashes in code.items() if not hashes or "" in hashes]
    if unknown:
        raise InputError(
            f"{block.where}: {block.fields['from']} does not say which code made {', '.join(unknown)}; make it again "
            f"with `{block.fields['command']}`"
        )
    hashes = {stage: next(iter(found)) if len(found) == 1 else "several" for stage, found in code.items()}
    return ", ".join(commits), ",".join(f"{stage}:{value}" for stage, value in hashes.items())


def _training(recorded: object) -> str:
    return str(recorded.get("training") or "") if isinstance(recorded, dict) else ""


def _run(runs: list[Path]) -> str:
    """What a run says last."""
    rows = ledger.read(runs[0] / "ledger.jsonl")
    return "```text\n" + "\n".join(summary(rows, runs[0])) + "\n```"


def _takes(runs: list[Path]) -> str:
    """How long each run took, and its size on disk."""
    lines = [["run", "stages", "took", "on disk"]]
    for run in runs:
        rows = ledger.read(run / "ledger.jsonl")
        size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
        lines.append([f"`{run}`", str(len(rows)), duration(costs(rows)[0]), f"{size / 1e9:.1f} GB"])
    return table(lines, raw=True, side="---")


def _seeds(runs: list[Path]) -> str:
    """The tables of `make seeds`, and what its columns mean."""
    page = runs[0].with_name(f"{runs[0].name}_seeds") / "seeds.md"
    return page.read_text(encoding="utf-8").partition("\n")[2].replace("\n## ", "\n### ")


HEADLINES = (
    "wer/clean", "wer/joined", "task/intent", "hearing/hallucination_guarded", "forgetting/mean",
    "safety/harmful_compliance/speech", "safety/over_refusal/speech",
)  # fmt: skip


def _seeds_headlines(runs: list[Path]) -> str:
    """The last model's main figures over seeds, and how many differences survive."""
    page = runs[0].with_name(f"{runs[0].name}_seeds") / "seeds.json"
    made = json.loads(page.read_text(encoding="utf-8"))
    found = {figure["metric"]: figure for figure in made["figures"] if figure["headline"]}
    lines = [["figure", "mean over seeds", "lowest … highest", f"items, seed {made['seeds'][0]}"]]
    for name, figure in ((name, found[name]) for name in HEADLINES):
        mean = f"{number(name, figure['mean']['value'])} {between(name, figure['mean']['ci95'])}"
        span = f"{number(name, figure['low'])} … {number(name, figure['high'])}"
        lines.append([label(name), mean, span, between(name, figure["items"])])
    survives = [one["survives"] for one in made["findings"]]
    counts = "; ".join(f"{survives.count(how)} {how}" for how in dict.fromkeys(survives))
    said = f"Of {len(survives)} differences that the report of some seed calls sure, these survive: {counts}."
    return f"{table(lines, raw=True, side='---')}\n\n{said}"


def _study(runs: list[Path]) -> str:
    """The whole page of `make study`."""
    return (runs[0] / "study.md").read_text(encoding="utf-8").partition("\n")[2].replace("\n## ", "\n### ")


def _study_panel(runs: list[Path]) -> str:
    """What a study advises, and which findings of papers it reproduces."""
    said = json.loads((runs[0] / "study.json").read_text(encoding="utf-8"))
    lines = [["finding", "source", "in the tiny world"]]
    lines += [[c["said"], c["source"], f"{c['verdict']}: {c['figures']}"] for c in said["claims"]]
    advice, *commands = said["advice"]
    return "\n\n".join([table(lines, raw=True, side="---"), advice, *(f"`{command}`" for command in commands)])


PERSONAL = ("personal/names", "personal/wer", "forgetting/mean", "wer/clean", "task/simple_caption")
AGAINST = (("delta_vs_without", "delta_without_ci95"), ("delta_vs_parent", "delta_parent_ci95"))


def _personalise(runs: list[Path]) -> str:
    """A person a column: with the personal adapter, and the difference to the model without it."""
    rows = [row for run in runs for row in ledger.read(run / "ledger.jsonl") if kind(row) == "personalise"]
    people = [Path(str(row.config["options"]["manifest"])).parent.name for row in rows]
    lines = [["figure, n", *(f"person {person}: with, and difference" for person in people)]]
    for name in PERSONAL:
        counts = ", ".join(dict.fromkeys(str(row.metrics[name].get("n", "")) for row in rows))
        lines.append([f"{label(name)}, {counts}", *(_with_change(row, name) for row in rows)])
    return table(lines, raw=True, side="---")


def _with_change(row: Row, name: str) -> str:
    metric, said = row.metrics[name], _value(row, name)
    for delta, ci in AGAINST:
        if metric.get(delta) is not None:
            return f"{said}; {change(name, metric[delta])}{unit(name)} {between(name, metric.get(ci))}"
    return said


DENOISES = tuple(f"enhance/{of}/" for of in ("si_sdr_gain", "stoi_gain", "clean", "ear_gain", "own_snr"))


def _enhance(runs: list[Path]) -> str:
    """The denoiser's own figures, and its gain on validation mixtures while it trained."""
    rows = [row for run in runs for row in ledger.read(run / "ledger.jsonl") if kind(row) == "enhance"]
    lines = [["figure", *(row.run for row in rows)]]
    for name in sorted((name for name in rows[0].metrics if name.startswith(DENOISES)), key=_naturally):
        said = [_value(row, name) if name in row.metrics else "–" for row in rows]
        lines.append([label(name), *said])
    shown = [table(lines, raw=True, side="---")]
    for row in rows:
        gains = row.train_metrics.get("valid_si_sdr_gain", {})
        lines = [["steps", *(f"at {snr_db} dB" for snr_db in next(iter(gains.values()), {}))]]
        lines += [[step, *(f"{x:+.1f}".replace("-", "−") for x in found.values())] for step, found in gains.items()]
        kept = row.train_metrics.get("weights_of_step")
        shown += [f"SI-SDR gain in dB on validation mixtures; the weights of step {kept} are kept:"] * bool(gains)
        shown += [table(lines, raw=True, side="---")] * bool(gains)
    return "\n\n".join(shown)


def _naturally(name: str) -> list[tuple[int, str]]:
    """Sorts by the numbers in names: 5 dB before 10 dB."""
    return [(int(part) if part.lstrip("-").isdigit() else 0, part) for part in re.split(r"(-?\d+)", name)]


def _value(row: Row, name: str) -> str:
    metric = row.metrics[name]
    return f"{number(name, metric['value'])} {between(name, metric.get('ci95'))}"


def _listeners(runs: list[Path]) -> str:
    """What the denoiser gives each listener that was asked for."""
    rows = ledger.read(runs[0] / "ledger.jsonl")
    return "\n\n".join(f"{title}\n\n{table(lines, raw=True, side='---')}" for title, lines in listener_tables(rows))


def _control(runs: list[Path]) -> str:
    """The first run's denoiser against the second's, in listeners' ears."""
    found = compare(runs[1], runs[0], "enhance")["metrics"]
    lines = [["figure", f"`{runs[0]}` less `{runs[1]}`"]]
    for name in (name for name in found if name.startswith("enhance/ear_gain/")):
        lines.append([label(name), f"{change(name, found[name]['delta'])} dB {between(name, found[name]['ci95'])}"])
    return table(lines, raw=True, side="---")


def _machine(runs: list[Path]) -> str:
    """Word errors with `--enhance` and without, by each run's denoiser."""
    rows = [row for run in runs if (row := measured(ledger.read(run / "ledger.jsonl")))]
    lines = [["word errors", *(f"by `{row.run}`" for row in rows)]]
    for name in sorted(name for name in rows[0].metrics if name.startswith(("wer_enhanced/", "wer_real_enhanced/"))):
        condition = name.partition("/")[2]
        lines.append([condition, *(_with_change(row, name) if name in row.metrics else "–" for row in rows)])
    return table(lines, raw=True, side="---")


def _bench(runs: list[Path]) -> str:
    """Ours beside its peers: the ratio, with the least and the greatest."""
    made = json.loads((runs[0] / "bench.json").read_text(encoding="utf-8"))
    lines = [["ours", "peer", "for", "seconds, ours / peer", "ratio"]]
    for one in made["times"]:
        ratio = f"{one['ratio']:.2f} [{one['spread']['ratio'][0]:.2f}, {one['spread']['ratio'][1]:.2f}]"
        seconds = f"{one['ours']:.3g} / {one['peer']:.3g}"
        lines.append([one["name"], one["peer_name"], one["unit"], seconds, ratio])
    shown = table(lines, raw=True, side="---")
    return f"{shown}\n\n{made['machine'][0]}; transcripts and training of `{made['checkpoint']}`."


def _denoising(runs: list[Path]) -> str:
    """A run's denoiser beside others: costs, then gains at every SNR."""
    from posttrain.use.bench_denoising import tables

    made = json.loads((runs[0] / "denoising.json").read_text(encoding="utf-8"))
    shown = [f"{title}:\n\n{table(cells, raw=True, side='---')}" for title, cells in tables(made)]
    model = f"; words of `{made['model']}`" if "model" in made else ""
    return "\n\n".join([*shown, f"{made['machine'][0]}; `{made['checkpoint']}`{model}."])


def _scale(runs: list[Path]) -> str:
    """Time and memory by the number of recordings."""
    made = json.loads((runs[0] / "scale.json").read_text(encoding="utf-8"))
    lines = [["recordings", "step", "seconds", "memory, MB"]]
    lines += [[f"{x['rows']:,}", x["step"], f"{x['seconds']:.1f}", f"{x['memory_mb']:,.0f}"] for x in made["sizes"]]
    return f"{table(lines, raw=True, side='---')}\n\n{made['machine'][0]}."


ALL = ("corpus", *PIPELINE, "evaluation")
KINDS = {
    RECORD: Kind((), lambda runs: ""),
    "run": Kind(ALL, _run),
    "takes": Kind(ALL, _takes),
    "seeds": Kind(ALL, _seeds),
    "seeds_headlines": Kind(ALL, _seeds_headlines),
    "study": Kind(("corpus", *HEARING, "evaluation"), _study),
    "study_panel": Kind(("corpus", *HEARING, "evaluation"), _study_panel),
    "personalise": Kind(("corpus", *HEARING, "personalise", "evaluation"), _personalise),
    "enhance": Kind(("corpus", "enhance", "evaluation"), _enhance),
    "listeners": Kind(("corpus", "enhance", "evaluation", "listeners"), _listeners),
    "control": Kind(("corpus", "enhance", "evaluation"), _control),
    "machine": Kind(("corpus", *HEARING, "enhance", "evaluation", "listeners"), _machine),
    "bench": Kind(("bench",), _bench, "bench.json"),
    "denoising": Kind(("denoising",), _denoising, "denoising.json"),
    "scale": Kind(("scale",), _scale, "scale.json"),
}


def main(arguments: list[str]) -> int:
    """Fill or check the blocks; 1 where `--check` finds one that is stale and does not say so."""
    parser = argparse.ArgumentParser(description="Fill the blocks of figures in the documents from finished runs.")
    parser.add_argument("run", type=Path, nargs="?", help="only the blocks of this run")
    parser.add_argument("--check", action="store_true", help="change nothing; say how each block stands")
    asked = parser.parse_args(arguments)
    found = [block for document in documents() for block in blocks(document)]
    if asked.check:
        wrong = [said for block in found if (said := problem(block))]
        stale = [block.where for block in found if "stale" in block.fields and block.kind != RECORD]
        marked = f"{len(stale)} of them marked stale" + f": {'; '.join(stale)}" * bool(stale)
        print("\n".join([*wrong, f"{len(found)} blocks of figures, {marked}"]))
        return int(bool(wrong))
    for block in found:
        if block.kind == RECORD:
            continue
        if asked.run is None or any(run.absolute() == asked.run.absolute() for run in block.runs):
            try:
                made = fill(block)
            except (InputError, OSError) as error:
                print(f"left as it is: {error}", file=sys.stderr)
                continue
            content = block.document.read_text(encoding="utf-8")
            block.document.write_text(content.replace(block.text, made), encoding="utf-8")
            print(f"filled {block.where} from {block.fields['from']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
