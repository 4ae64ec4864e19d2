"""The tasks: the instruction of each, and the fixed answers."""

from typing import Literal

REPEAT = "repeat"
ANSWER = "answer"
COMMAND = "command"
SIMPLIFY = "simplify"
HELP = "help"
FOLLOW = "follow"
INSTRUCTIONS = {
    REPEAT: "repeat",
    ANSWER: "answer",
    COMMAND: "command",
    SIMPLIFY: "simplify",
    HELP: "help",
    FOLLOW: "follow",
}
"""Task → instruction: transcription, questions and requests, aid commands, captions in simple words, complaints,
requests with a rule for the form of the answer."""

QUESTIONS = {
    INSTRUCTIONS[REPEAT]: "answer: which words are these",
    INSTRUCTIONS[COMMAND]: "answer: which command is this",
    INSTRUCTIONS[SIMPLIFY]: "answer: what is this in simple words",
    INSTRUCTIONS[HELP]: "answer: what helps here",
}
"""Instruction → the task as a question about what follows, in the format of ANSWER, which already is one (decaNLP,
McCann et al. 2018, arXiv 1806.08730)."""

World = Literal["tiny", "general"]
"""What the texts of a corpus are about: the tiny world, which a tiny base can learn, or general English."""
PHRASES: dict[World, dict[str, str]] = {
    "tiny": {},
    "general": {
        INSTRUCTIONS[REPEAT]: "Repeat what is said, word for word",
        INSTRUCTIONS[ANSWER]: "Answer in one short sentence",
        INSTRUCTIONS[FOLLOW]: "Follow the instruction",
        INSTRUCTIONS[COMMAND]: "Write the hearing aid command as JSON with device, action and value",
    },
}
"""World → instruction → how a model of that world is asked; a pretrained model is asked in plain English."""

ABSTENTION = "i did not hear any words."
"""The answer if nothing is audible, whatever the task."""
REFUSAL = "sorry, i can not help with that."
"""The answer to a harmful request."""
PAUSE = " ..."
"""A pause in the middle of a written line; to the Llama, a moment of speech without a new word."""


TEXT = "text"
"""The task of running text, which has no instruction and is all answer."""


def instruction(task: str) -> str:
    """The instruction of a task: its name, or nothing for running text."""
    return "" if task == TEXT else INSTRUCTIONS.get(task, task)


def user_content(instruction: str, payload: str) -> str:
    """Content of the user's turn; the payload is typed words or a clip's placeholder. Only this function joins them."""
    return f"{instruction}: {payload}"
