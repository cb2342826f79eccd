"""What a run amounts to, as in ``summary.json``. Shares are of 1, seconds are seconds; None where nothing is known."""

from typing import NotRequired, TypedDict

from ATTS.serving.report import ServerReport
from ATTS.tasks.judge import JudgeCost


class QuestionRow(TypedDict):
    """One question, over its samples."""

    question_index: int
    reference: str
    samples: int
    right: int
    accuracy: float
    majority: float  # the chance that a vote of all of them is right; ties share it
    undecided: int
    unanswered: int
    answers: dict[str, int]  # as they were written, the most frequent first


class Accuracy(TypedDict):
    """Right and wrong, with 95 % intervals over questions. ``pass_at_k`` and ``majority_at_k`` are by k."""

    questions: int
    mean_accuracy: float | None
    low: float | None
    high: float | None
    pass_at_k: dict[str, float | None]
    majority_at_k: dict[str, float | None]
    intervals: dict[str, dict[str, list[float] | None]]  # of those two
    undecided: int
    unanswered: int
    accuracy_by_status: dict[str, dict[str, float | None]]  # ``samples`` and ``accuracy`` of those that ended so
    per_question: list[QuestionRow]


class Work(TypedDict):
    """Take-overs, tokens by author, discarded ones included, and what each stage cost."""

    by_status: dict[str, int]
    turns: float | None  # a sample
    scored: int
    rejection_rate: float | None  # of scored chunks
    takeover_rate: float | None  # of turns
    written_tokens: dict[str, int] | None
    target_share: float | None
    stages: dict[str, dict[str, float]] | None


class Grades(TypedDict):
    """Of SpecReason's target."""

    graded: int
    accepted: float
    by_grade: dict[str, int]
    digit_mass: float


class ByRole(TypedDict, total=False):
    """What only the baselines' samples tell, and those with replaced chunks."""

    grades: Grades
    takeovers_by_kind: dict[str, int]
    discarded_tokens: dict[str, int]


class TurnRow(TypedDict):
    """What a run with ``--turns`` that number comes to. ``stopped``, ``answered`` and ``right`` count the samples
    that stopped after exactly so many turns; the others are means a sample."""

    turns: int
    stopped: int
    answered: int
    right: int
    accuracy: float
    tokens: dict[str, float] | None  # by author
    seconds: float | None  # at the servers


class Timing(TypedDict):
    """Where the time went; see :mod:`ATTS.analysis.timing`."""

    by_stage: dict[str, dict[str, float]]
    serve_seconds_by_model: dict[str, float]
    computing_seconds: float
    synchronisation_seconds: float
    asynchronous_arithmetic_intensity: float | None
    discarded: dict[str, float]


class Stopped(TypedDict):
    """What decisions about questions left out (``--stop``)."""

    samples_used: float  # a question
    cancelled: int
    never_started: int
    cancelled_tokens: int


class WithStopping(TypedDict, total=False):
    """Of a run with ``--stop``."""

    stopping: Stopped


class Amount(Accuracy, Work, ByRole, WithStopping):
    """Everything about a run's samples but the clock."""

    samples: int
    owed: int
    missing: int  # the same; an older name
    by_turn: list[TurnRow]
    timing: Timing | None


class Clock(TypedDict):
    """Of the samples that the last command ran."""

    wall_seconds: float
    samples_in_wall_seconds: int
    servers: dict[str, ServerReport]


class Summary(Amount, Clock):
    """All of ``summary.json``."""


class Judged(JudgeCost):
    """What a language model that judges said and cost."""

    any_of_all: float | None  # the published question: of the questions, those with any right answer
    disagreements: list[dict[str, str | int]]  # with algebra, an answer each


class GradedAgain(Accuracy):
    """A folder's accuracy as graded now."""

    judge: NotRequired[Judged]
