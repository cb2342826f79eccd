"""What a question looks like to a model: maths and multiple choice.

ATTS's own first, then those of the two baselines. The layout of ATTS's (four-space indents, a leading
and a trailing newline, the paragraph break shown as literal backslash-n for maths and as real newlines
for multiple choice) follows the published system, because chat models are sensitive to it; the wording
is this project's own.
"""

from collections.abc import Sequence

SYSTEM = "You are a math expert."
LETTERS = "ABCDEFGHIJ"


def maths(problem: str) -> str:
    """The user turn for a problem whose answer is an expression."""
    return (
        "\n    Answer the question using step-by-step reasoning, with two newline characters (`\\n\\n`)"
        " between steps and the final answer in \\boxed{}."
        f"\n\n    Question: {problem}\n"
    )


def multiple_choice(problem: str, choices: Sequence[str]) -> str:
    """The user turn for a problem whose answer is the letter of one of ``choices``."""
    letters = LETTERS[: len(choices)]
    examples = ", ".join(f"\\boxed{{{letter}}}" for letter in letters)
    options = "\n".join(f"    {letter}. {text}" for letter, text in zip(letters, choices, strict=True))
    return (
        "\n    Choose the correct answer using step-by-step reasoning, with two newline characters (`\n\n`)"
        f" between steps and the final answer, one letter, in a box: {examples}."
        f"\n\n    Question: {problem}\n\n    Choices:\n{options}\n"
    )
