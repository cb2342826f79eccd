"""What a question looks like to the baselines' models: maths and multiple choice."""

from collections.abc import Sequence

from ATTS.method.prompts import LETTERS

THINK = "<think>"  # opens the reasoning of both baselines


SPEC_REASON_JUDGE = (
    "Judge only the last step, and only whether it is factually correct and follows from the steps before it;"
    " ignore style, wording and usefulness. Give it a score from 0 to 9."
)


SPEC_REASON_SCORE = f"{THINK}I think the quality score is: "  # the judge's turn begun; the next token is the score


def spec_reason_maths(problem: str) -> str:
    """SpecReason's user turn for a problem whose answer is an expression."""
    return _indented(
        "Solve the problem efficiently and clearly, reason step by step, and separate the steps with two newline"
        " characters (\n\n). Put the final answer in \\boxed{}.",
        f"Problem: {problem}",
    )


def spec_reason_multiple_choice(problem: str, choices: Sequence[str]) -> str:
    """SpecReason's user turn for a problem whose answer is the letter of one of ``choices``."""
    letters = LETTERS[: len(choices)]
    options = [f"({letter}) {text}" for letter, text in zip(letters, choices, strict=True)]
    return _indented(
        "Choose the correct answer, reason step by step, and separate the steps with two newline characters (\n\n)."
        f" The final answer must be \\boxed{{X}}, X one of {', '.join(letters)}, for example \\boxed{{A}}.",
        f"Problem: {problem}.",
        "Choices:",
        *options,
    )


def _indented(*lines: str) -> str:
    indent = " " * 8
    return "\n" + "".join(f"{indent}{line}\n" for line in lines) + indent


def speculative_thinking_maths(problem: str) -> str:
    """Speculative Thinking's user turn for a problem whose answer is an expression."""
    return f"Reason step by step and put the final answer in \\boxed{{}}. {problem} {THINK}\n"


def speculative_thinking_multiple_choice(problem: str, choices: Sequence[str]) -> str:
    """Speculative Thinking's user turn for a problem whose answer is the letter of one of ``choices``."""
    options = ", ".join(f"{letter}) {text}" for letter, text in zip(LETTERS, choices, strict=False))
    return (
        "Put the final answer in \\boxed{} and only the letter of the right choice there.\n"
        f"{problem}\n{options} {THINK}\n"
    )
