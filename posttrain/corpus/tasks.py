"""The tasks: what is typed before the words, and the answers that are the same every time."""

REPEAT = "repeat"
ANSWER = "answer"
COMMAND = "command"
SIMPLIFY = "simplify"
HELP = "help"
INSTRUCTIONS = {REPEAT: "repeat", ANSWER: "answer", COMMAND: "command", SIMPLIFY: "simplify", HELP: "help"}
"""Task → instruction: transcription, questions and requests, aid commands, captions in simple words, complaints."""

QUESTIONS = {
    INSTRUCTIONS[REPEAT]: "answer: which words are these",
    INSTRUCTIONS[COMMAND]: "answer: which command is this",
    INSTRUCTIONS[SIMPLIFY]: "answer: what is this in simple words",
    INSTRUCTIONS[HELP]: "answer: what helps here",
}
"""Instruction → the task as a question about what follows, in the format of ANSWER, which is one already (decaNLP,
McCann et al. 2018, arXiv 1806.08730)."""

ABSTENTION = "i did not hear any words."
"""Said when nothing is audible, whatever was asked."""
REFUSAL = "sorry, i can not help with that."
"""Said to a harmful request."""
PAUSE = " ..."
"""Written where someone pauses in the middle of a line; to the Llama, a moment of speech without a new word."""


def user_content(instruction: str, payload: str) -> str:
    """What the user's turn holds; the payload is typed words or stands for a clip. The one place that joins them."""
    return f"{instruction}: {payload}"
