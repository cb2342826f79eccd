"""Samples graded: each answer compared with its reference by algebra, by a language model, or by both."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from ATTS.analysis.accuracy import Graded
from ATTS.errors import ExitStatus
from ATTS.serving.queue import drain
from ATTS.store.records import OWED, Record
from ATTS.store.summary import Judged
from ATTS.tasks import notation
from ATTS.tasks.answers import INVALID
from ATTS.tasks.equivalence import Grader, Verdict
from ATTS.tasks.judge import JudgeCost

JudgeName = Literal["math", "llm", "both"]
MOST_VOTED = 40  # different answers of one question that are compared with each other; its rarest are not


class ModelJudge(Protocol):
    """A language model that compares answers (tasks/judge.py)."""

    async def matches(self, question: str, reference: str, answer: str) -> Verdict:
        """Whether an answer means the same as the reference."""
        ...

    async def any_matches(self, reference: str, answers: Sequence[str]) -> Verdict:
        """Whether any of the answers means the same as the reference."""
        ...

    def cost(self) -> JudgeCost:
        """What was asked so far and what it cost."""
        ...


def finished(samples: Iterable[Record]) -> list[Record]:
    """The samples that ended by themselves."""
    return [s for s in samples if s.get("exit_status", ExitStatus.ANSWERED) not in OWED]


def ran(found: Iterable[Record]) -> list[Record]:
    """Those that no decision of their question stopped."""
    return [s for s in found if s.get("exit_status") != ExitStatus.STOPPED]


def answered(sample: Record) -> bool:
    """Whether a sample has an answer."""
    return sample["final_answer"] not in (None, "", INVALID)


def status(sample: Record) -> str:
    """Why a sample ended; all that a published one tells is whether there was an answer."""
    ended = ExitStatus.ANSWERED.value if answered(sample) else "unanswered"
    return str(sample.get("exit_status", ended))


def question_of(sample: Record, repeats: int) -> int:
    """The number of a sample's question: as it tells, else by its own number, so gaps in a folder shift nothing."""
    return int(sample.get("question_index", sample["problem_index"] // repeats))


def by_math(samples: Sequence[Record], references: Sequence[str], repeats: int) -> list[Graded]:
    """Grading by notation and algebra."""
    answers = [str(s["final_answer"]) if answered(s) else None for s in samples]
    questions = [question_of(sample, repeats) for sample in samples]
    with Grader() as grader:
        pairs = [(ref, answer) for ref, answer in zip(references, answers, strict=True) if answer is not None]
        verdicts = dict(zip(pairs, grader.compare(pairs), strict=True))
        wrong: dict[int, Counter[str]] = {}
        for question, ref, answer in zip(questions, references, answers, strict=True):
            if answer is not None and verdicts[ref, answer] is Verdict.DIFFERENT:
                wrong.setdefault(question, Counter())[answer] += 1
        votes = _votes(wrong, grader)
    return [
        Graded(
            question=question,
            answer=answer,
            vote=None if answer is None else votes.get((question, answer), answer),
            verdict=Verdict.DIFFERENT if answer is None else verdicts[ref, answer],
            status=status(sample),
            reference=ref,
        )
        for sample, question, ref, answer in zip(samples, questions, references, answers, strict=True)
    ]


def _votes(wrong: dict[int, Counter[str]], grader: Grader) -> dict[tuple[int, str], str]:
    """For each question's wrong answers the first one that means the same: 1/2 and 0.5 are one vote."""
    spelled = {
        question: list(dict.fromkeys(_form(answer) for answer, _ in answers.most_common()))[:MOST_VOTED]
        for question, answers in wrong.items()
    }
    pairs = [pair for forms in spelled.values() for pair in itertools.combinations(forms, 2)]
    same = {pair for pair, verdict in zip(pairs, grader.compare(pairs), strict=True) if verdict is Verdict.EQUAL}
    votes = {}
    for question, answers in wrong.items():
        forms = spelled[question]
        for answer in answers:
            form = _form(answer)
            # Only those before it: another question may have had the same two the other way round.
            before = forms[: forms.index(form)] if form in forms else forms
            votes[question, answer] = next((first for first in before if (first, form) in same), form)
    return votes


def _form(answer: str) -> str:
    return notation.compact(notation.plain(answer))


async def by_llm(
    graded: Sequence[Graded], problems: Sequence[str], judge: ModelJudge, everywhere: bool, concurrency: int
) -> tuple[list[Graded], Judged]:
    """The same samples with a language model's verdicts, and a report of what it said.

    ``everywhere``: it decides on all answers; else only where algebra says different or undecided. It is
    asked the published question too, whether any of a question's answers is right (else only where algebra
    found none). Every different answer of a question is asked about once. Raises UserError.
    """
    pairs = {
        (s.question, str(s.answer)): (problem, s)
        for s, problem in zip(graded, problems, strict=True)
        if s.answer is not None and (everywhere or not s.right)
    }
    groups: dict[int, list[Graded]] = {}
    for sample in graded:
        groups.setdefault(sample.question, []).append(sample)
    sure = set() if everywhere else {number for number, group in groups.items() if any(s.right for s in group)}
    anyone = {
        number: list(dict.fromkeys(s.answer for s in group if s.answer is not None))
        for number, group in groups.items()
        if number not in sure
    }
    verdicts: dict[tuple[int, str], Verdict] = {}
    any_right = len(sure)

    async def ask(item: tuple[int, str]) -> None:
        problem, sample = pairs[item]
        verdicts[item] = await judge.matches(problem, sample.reference, item[1])

    async def ask_any(number: int) -> None:
        nonlocal any_right
        if anyone[number]:
            verdict = await judge.any_matches(groups[number][0].reference, anyone[number])
            any_right += verdict is Verdict.EQUAL

    await drain(pairs, ask, concurrency)
    await drain(anyone, ask_any, concurrency)
    report: Judged = {
        **judge.cost(),
        "any_of_all": any_right / len(groups) if groups else None,
        "disagreements": [
            {
                "question_index": question,
                "reference": sample.reference,
                "answer": answer,
                "math": sample.verdict.value,
                "llm": verdicts[question, answer].value,
                "samples": sum(s.question == question and s.answer == answer for s in graded),
            }
            for (question, answer), (_, sample) in pairs.items()
            if verdicts[question, answer] is not sample.verdict and verdicts[question, answer] is not Verdict.UNDECIDED
        ],
    }
    return [_replaced(s, verdicts.get((s.question, str(s.answer))), everywhere) for s in graded], report


def _replaced(sample: Graded, verdict: Verdict | None, everywhere: bool) -> Graded:
    """A judge that can't say leaves standing what algebra found, unless it alone decides."""
    if verdict is None or (verdict is Verdict.UNDECIDED and not everywhere):
        return sample
    return dataclasses.replace(sample, verdict=verdict)
