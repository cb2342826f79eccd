"""Settings of calibration, of the loop, and of one model alone."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from ATTS.flags import Incidental, Part, Positive, Share, require, settle
from ATTS.method.conformal import forms
from ATTS.runs import addresses, parts
from ATTS.runs.parts import RATE
from ATTS.runs.voting import OwnVoting, Voting
from ATTS.tasks.answering import ExtractMode


class PairAnswers(parts.Answers):
    """How answers are read."""

    extract_mode: ExtractMode | None = None  # type: ignore[assignment]  # None until --compat is known
    """How answers are read: by regex with balanced braces (the default), up to the first closing brace
    (published, as those runs did), or at the end of a chain by an OpenAI-compatible model (llm:
    OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL)."""


class _Pair(Part):
    """What calibration and the loop share."""

    draft: parts.Draft
    target: parts.Target
    data: parts.Data
    scoring: parts.Scoring = parts.Scoring()
    answers: PairAnswers = PairAnswers()
    requests: parts.Requests = parts.Requests()

    def __post_init__(self) -> None:
        addresses.apart(self.draft, self.target)
        mode = self.answers.extract_mode or ("published" if self.scoring.compat else "regex")
        settle(self, answers=replace(self.answers, extract_mode=mode), scoring=self.scoring.settled())
        require(
            self.scoring.compat is None or self.requests.top_p == 1,
            "--compat published sends no top_p: --top_p must be 1",
        )


class Calibration(Part):
    """How much is scored to calibrate with."""

    sample_size: Positive[int] = 16
    """Samples of every question: this many first chunks are scored, or, with --turns, chains followed. In the place of
    a first chunk that a run would not score, because it answers or its author ended it, another is drawn."""

    turns: Positive[int] = 1
    """1: score first chunks. More: run the loop for N turns and score the chunks of each, for
    --calibration per_turn; --rejection_rate, --evalator_max_tokens and --eval_model_temperature are then
    those of the run that it is for."""


class CalibrationLimits(Part):
    """How much is in flight."""

    each: Annotated[Positive[Incidental[int]], arg(name="max_concurrent")] = 16
    """Most requests in flight at each server."""


class ConformalSettings(_Pair):
    """Flags of ref_conformal and ref_conformal_per_question."""

    calibration: Calibration = Calibration()
    limits: CalibrationLimits = CalibrationLimits()
    output: parts.Output = parts.Output()

    def __post_init__(self) -> None:
        super().__post_init__()
        first_chunks = self.scoring.compat is None or self.calibration.turns == 1
        require(first_chunks, "--compat published calibrates first chunks: --turns must be 1")


class Rule(Part):
    """What decides that the target takes over."""

    sample_size: Positive[int] = 16
    """Calibration samples a question; only names the default calibration array."""

    certificate: Incidental[Path | None] = None
    """A certificate (python -m ATTS.certify): the run has its settings and calibration array, and other questions than
    it rests on."""

    takeover: Literal["score", "random"] = "score"
    """What decides: the chunk's score, or (a control) a coin of the same rejection rate."""

    calibration: Literal["marginal", "per_question", "per_turn", "grouped", "online", "adaptive"] | None = None
    """What a chunk's score is compared with (docs/GUARANTEES.md): the scores of the whole data set (the
    default), of its question, of its turn, or of its question's group; or those of its turn that came before it
    in this run, with a level that follows the rate: one for each turn (online: needs no array) or one for
    all turns (adaptive)."""

    budget: int | None = None
    """Chunks to hand to the target of the --repeats that a question has at a turn; sets the rejection rate
    to budget / repeats. --budget_kind says whether that is a mean or a bound."""

    budget_kind: Literal["mean", "bound"] | None = None
    """mean (the default): --budget chunks on average over questions, more for hard ones and fewer for easy ones.
    bound: never more than --budget at a turn of a question; once they are handed over, the others of that turn
    continue with the draft, so fewer than budget / repeats are handed over on the whole. With --draft_attempts each
    draft that is rejected counts."""

    p_value: Literal["published", "bounded", "smoothed"] | None = None
    """How a score's rank becomes a decision: percentile >= 1 - rate (published, the default); a conformal
    p-value that rejects at most the rate (bounded); or one that rejects exactly it, by a draw between
    neighbouring ranks (smoothed, which online and adaptive always use)."""

    bank_window: Positive[int | None] = None
    """online, adaptive: compare with the newest N scores of the turn; default: all."""

    gamma: Share[float | None] = None
    """online, adaptive: how far a level moves after a decision; default 1/19, which holds the rate within 0.05
    over every 400 decisions of that level, whatever the scores do: (1 + gamma) / (gamma 400). With online, 0
    leaves the level at the rate: the paper's memory bank alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        learns = self.calibration in ("online", "adaptive")
        require(self.budget_kind is None or self.granted is not None, "--budget_kind is for --budget")
        require(
            not (self.budget_kind == "bound" and self.calibration == "adaptive"),
            "--budget_kind bound contradicts --calibration adaptive, whose level would make up for it",
        )
        require(learns or self.bank_window is None, "--bank_window is for --calibration online and adaptive")
        require(learns or self.gamma is None, "--gamma is for --calibration online and adaptive")
        require(self.gamma != 0 or self.calibration == "online", "--gamma 0 is for --calibration online")
        require(not learns or self.p_value in (None, "smoothed"), f"--calibration {self.calibration} smooths p-values")
        without = self.calibration is None and self.p_value is None
        require(self.takeover == "score" or without, "--takeover random decides without --calibration and --p_value")

    @property
    def granted(self) -> int | None:
        """The budget, whatever its flag is called."""
        return self.budget

    @property
    def decides_alone(self) -> bool:
        """Whether a decision depends on no other of the run."""
        return self.calibration not in ("online", "adaptive") and self.p_value != "smoothed"

    @property
    def as_published(self) -> bool:
        """Whether a score's rank among those of one array decides."""
        return self.calibration in (None, "marginal", "per_question") and self.p_value in (None, "published")


class AsyncSettings(_Pair, parts.RunSettings):
    """Flags of ref_async and ref_async_per_question."""

    rule: Rule = Rule()
    samples: parts.Chains = parts.Chains()
    voting: Voting = Voting()
    limits: parts.LoopLimits = parts.LoopLimits()

    def __post_init__(self) -> None:
        if self.scoring.compat:
            self._check_published()
            settle(self, limits=replace(self.limits, schedule="question"))
        super().__post_init__()
        if self.rule.budget is not None:
            self._set_rate(self.rule.budget)
        require(
            self.rule.calibration != "online" or self.scoring.ppl_array_path is None,
            "--calibration online starts without scores: leave --ppl_array_path out, or use --calibration adaptive,"
            " which starts from an array",
        )

        require(
            self.sharding.part is None or self.rule.decides_alone,
            "--shard: --calibration online and adaptive and --p_value smoothed decide by the decisions before, of one"
            " process; use --calibration per_turn, or run all questions in one process",
        )

    def _set_rate(self, budget: int) -> None:
        repeats = self.samples.repeats
        require(
            0 < budget < repeats,
            f"--budget must lie between 0 and --repeats ({repeats}), both excluded: it is a part of them",
        )
        rate = forms.rate_of_budget(budget, repeats)
        require(
            self.scoring.rejection_rate in (RATE, rate),
            f"--budget sets the rejection rate ({rate:g}): leave --rejection_rate out",
        )
        settle(self, scoring=replace(self.scoring, rejection_rate=rate))

    def _check_published(self) -> None:
        no = "is not part of --compat published"
        require(not self.limits.optimistic, f"--optimistic {no}")
        require(not self.samples.token_budget, f"--token_budget {no}")
        require(self.rule.budget_kind != "bound", f"--budget_kind bound {no}")
        require(self.rule.as_published, "--compat published decides as published")
        require(self.voting == Voting(), f"--stop and --confidence: what they do {no}")
        require(
            self.limits.scoring == 0,
            "--compat published has one limit for the target server: --scoring_concurrency must be 0",
        )

    @property
    def text_limit(self) -> int:
        """Most tokens of a sample's text; 0: no limit but that of the turns.

        With ``--on_rejection resample`` a turn leaves one chunk in the text, where with ``continue`` it may leave
        two, so the same --turns would be less text: 11 of 48 samples of a real pair ended at the turn limit for
        it. There the text is limited instead, to what --turns turns may bring with ``continue``. What is discarded
        doesn't count.
        """
        if self.scoring.on_rejection == "continue":
            return self.samples.token_budget
        return self.samples.longest(self.draft.max_tokens + self.target.max_tokens)

    @property
    def most_turns(self) -> int:
        """Turns of the loop: where the text is limited instead, enough not to matter, since each turn
        but the last leaves a token at least."""
        return self.samples.turns if self.scoring.on_rejection == "continue" else self.text_limit


class BaselineSettings(parts.RunSettings):
    """Flags of baseline: one model alone, draft or target; --small_model_... name it whichever it is."""

    draft: parts.Alone
    samples: parts.Chains = parts.Chains()
    voting: OwnVoting = OwnVoting()
    limits: parts.QueueLimits = parts.QueueLimits()
