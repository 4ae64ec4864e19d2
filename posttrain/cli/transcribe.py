"""posttrain transcribe: recordings to words, answers or commands."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli import show
from posttrain.cli.options import AudiogramOption, CheckpointOption, DeviceOption, DryRunOption, JsonOption, Task
from posttrain.cli.show import hide_loading, print_json, quiet_stdout


def transcribe(
    checkpoint: CheckpointOption,
    audio: Annotated[list[Path] | None, typer.Argument(metavar="AUDIO…", help="Recordings, any rate.")] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="A .csv, .tsv or .jsonl file with path,text[,speaker,…]; paths lie below its folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write path, text, hypothesis, encoder_hypothesis as JSON lines.")
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write NAME.srt, NAME.vtt and NAME.words.json into it."),
    ] = None,
    task: Annotated[
        Task,
        typer.Option(
            help="What is asked about each recording. repeat: its words; simplify: a caption in simple words; answer:"
            " the question that is spoken; command: the spoken request as an aid command; help: what helps here;"
            " follow: the instruction that is spoken."
        ),
    ] = "repeat",
    enhance: Annotated[bool, typer.Option("--enhance", help="Through the enhancer first, as a hearing aid.")] = False,
    enhancer: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|NAME",
            help="An enhance stage's folder, or wiener, rnnoise or deepfilternet3. Default: the project's own.",
        ),
    ] = None,
    audiogram: AudiogramOption = None,
    llama_alone: Annotated[
        bool, typer.Option("--llama-alone", help="Leave every transcript to the Llama, without the word head.")
    ] = False,
    no_drafts: Annotated[
        bool, typer.Option("--no-drafts", help="Write word by word, not checking the encoder's: slower, and the same.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips answered at once.")] = 32,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Transcribe recordings with a checkpoint; if the manifest has texts, also report error rates and their intervals.

    The encoder's own transcript is included, as encoder_hypothesis and encoder_wer. With another --task, the model's
    answer is printed instead of its transcript. If the checkpoint was trained with sft.candidates, its word head and
    the Llama decide together; the Llama's own transcript is then included too, as llama_hypothesis and llama_wer.

    Recordings may last up to four hours: silence is trimmed, and they are transcribed from pause to pause. Other tasks
    take at most 15 s of speech. Without speech, there are no words and no command. Answers that reach the limit of 200
    tokens are marked as cut. With --out, the same command resumes after a stop. Times of words in captions are from the
    word head (CTC) that `align` trains; without it, or for a word that it lacks, words share their window's time.

    \b
    posttrain transcribe one.wav two.flac --checkpoint runs/tiny/sft
    posttrain transcribe talk.flac --checkpoint runs/tiny/sft --captions captions
    posttrain transcribe one.wav --checkpoint runs/tiny/sft --task simplify
    posttrain transcribe --manifest clinic/manifest.csv --checkpoint runs/tiny/sft --out clinic.jsonl --json
    posttrain transcribe noisy.wav --checkpoint runs/tiny/sft --enhance --audiogram N3
    """
    from posttrain.use.transcribe import transcribe as run_transcribe

    hide_loading()
    with quiet_stdout():
        result = run_transcribe(
            audio or [],
            manifest,
            checkpoint,
            out,
            batch_size,
            device,
            dry_run,
            enhance,
            enhancer,
            audiogram,
            task,
            llama_alone,
            not no_drafts,
            captions,
        )
    print_json(result.scores) if as_json else show.transcripts(result)
    if result.failed:
        print("\n".join(result.failed), file=sys.stderr)
        raise typer.Exit(1)
