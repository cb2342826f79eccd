"""Settings of calibration, of the loop, and of one model alone."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ATTS.console import require
from ATTS.method.conformal import forms
from ATTS.method.score import WINDOW, Score, ScoreName, scoring
from ATTS.method.take_over import OnRejection, RejectionPolicy
from ATTS.runs.flags import PUBLISHED_TARGET_LIMIT, Answering, Common, Continued, Queued, url

RATE = 0.4


@dataclass(frozen=True, kw_only=True)
class _Pair(Continued, Common, Answering):
    """What calibration and the loop share."""

    use_chat_template: bool = False
    """Score a chunk behind the target's chat template (_ct1) rather than behind the raw question (_ct0)."""

    ppl_array_path: Path | None = None
    """The calibration array; default: evaluation/ppls_... by the naming scheme."""

    score: ScoreName = "mean"
    """What a chunk's log-probabilities under the target amount to: perplexity, exp(-mean) (mean, as in the
    published code); the negative log-likelihood, -sum (sum, as in the paper), which grows with the chunk's length;
    the largest mean of -log p over --score_window tokens in a row (worst_window) or of one (worst_token); or the
    mean of the three largest differences to the log-probability of the target's own choice (regret)."""

    score_window: int | None = None
    """--score worst_window: tokens in a row; default 5."""

    on_rejection: OnRejection = "continue"
    """What becomes of a rejected chunk: the target continues behind it (as in the paper), or writes in its place
    (resample). In calibration it matters with --turns only, but for --score_answers."""

    score_answers: bool | None = None
    """Score a chunk that holds an answer, too, before it ends the sample, so that it can be rejected; default:
    with --on_rejection resample. An array holds scores of such chunks or doesn't."""

    draft_attempts: int = 1
    """--on_rejection resample: the target writes in the place of a chunk after so many drafts of it were rejected."""

    compat: Literal["published"] | None = None
    """published: do exactly what the published driver does, flaws included (docs/FIDELITY.md), with
    --extract_mode published unless another is given, and in a run --schedule question. An array for such a run
    is made with it, too: it has chunks that answer, which only such a run scores."""

    rejection_rate: float = RATE
    """Share of chunks to hand to the target, 0 (none) to 1 (all that are scored): it takes over iff the percentile
    reaches 1 - rate. In calibration it matters with --turns only."""

    def __post_init__(self) -> None:
        if self.compat == "published" and self.extract_mode is None:
            object.__setattr__(self, "extract_mode", "published")
        super().__post_init__()
        require(0 <= self.rejection_rate <= 1, "--rejection_rate must lie between 0 and 1")
        if self.compat == "published":
            require(self.score == "mean", "--compat published scores by --score mean")
            require(self.top_p == 1, "--compat published sends no top_p: --top_p must be 1")
            require(self.on_rejection == "continue", "--compat published continues behind a rejected chunk")
        self._check_score()
        self._check_rejections()

    def _check_score(self) -> None:
        window = self.score == "worst_window"
        require(window or self.score_window is None, "--score_window is for --score worst_window")
        require(self.score_window is None or self.score_window >= 1, "--score_window must be at least 1")
        if window and self.score_window is None:
            object.__setattr__(self, "score_window", WINDOW)

    @property
    def scoring(self) -> Score:
        return scoring(self.score, self.score_window)

    def _check_rejections(self) -> None:
        resample = self.on_rejection == "resample"
        if self.score_answers is None:
            object.__setattr__(self, "score_answers", resample)
        require(
            resample or not self.score_answers,
            "--score_answers is for --on_rejection resample: behind an answer that stays, nothing can be mended",
        )
        require(self.draft_attempts >= 1, "--draft_attempts must be at least 1")
        require(resample or self.draft_attempts == 1, "--draft_attempts above 1 is for --on_rejection resample")

    @property
    def policy(self) -> RejectionPolicy:
        return RejectionPolicy(self.on_rejection, self.draft_attempts, bool(self.score_answers))


@dataclass(frozen=True, kw_only=True)
class ConformalSettings(_Pair):
    """Flags of ref_conformal and ref_conformal_per_question."""

    sample_size: int = 16
    """Samples of every question: so many first chunks are scored, or chains followed with --turns. In the place of
    a first chunk that a run would not score, because it answers or its author ended it, another is drawn."""

    max_concurrent: int = 16
    """Most requests in flight at each server."""

    turns: int = 1
    """1: score first chunks. More: run the loop for so many turns and score the chunks of each, for
    --calibration per_turn; --rejection_rate, --evalator_max_tokens and --eval_model_temperature are then
    those of the run that it is for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sample_size >= 1, "--sample_size must be at least 1: there is nothing to calibrate with")
        require(self.max_concurrent >= 1, "--max_concurrent must be at least 1")
        require(self.turns >= 1, "--turns must be at least 1")
        require(self.compat is None or self.turns == 1, "--compat published calibrates first chunks: --turns must be 1")


@dataclass(frozen=True, kw_only=True)
class AsyncSettings(_Pair, Queued):
    """Flags of ref_async and ref_async_per_question."""

    sample_size: int = 16
    """Calibration samples a question; only names the default calibration array."""

    eval_model_concurrency: int = 0
    """Most requests in flight at the target server, scoring and continuing; 0 = adaptive (with --schedule
    question and --compat published: 4, as published)."""

    certificate: Path | None = None
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
    go on with the draft, so fewer than budget / repeats are handed over on the whole. With --draft_attempts each
    draft that is rejected counts."""

    p_value: Literal["published", "bounded", "smoothed"] | None = None
    """How a score's rank becomes a decision: percentile >= 1 - rate (published, the default); a conformal
    p-value that rejects at most the rate (bounded); or one that rejects exactly it, by a draw between
    neighbouring ranks (smoothed, which online and adaptive always use)."""

    bank_window: int | None = None
    """online, adaptive: compare with the newest so many scores of the turn; default: all."""

    gamma: float | None = None
    """online, adaptive: how far a level moves after a decision; default 1/19, which holds the rate within 0.05
    over every 400 decisions of that level, whatever the scores do: (1 + gamma) / (gamma 400). With online, 0
    leaves the level at the rate: the paper's memory bank alone."""

    scoring_concurrency: int = 0
    """A limit of its own for scoring requests, apart from --eval_model_concurrency; 0 = none, that counts both."""

    optimistic: bool = False
    """Let the draft write on while its last chunk is scored. Same results, sooner; what it wrote behind a
    chunk that is then rejected was for nothing, so it pays where the draft server has room to spare."""

    def __post_init__(self) -> None:
        if self.compat == "published":
            object.__setattr__(self, "schedule", "question")
        if self.budget is not None:
            require(
                0 < self.budget < self.repeats,
                f"--budget must lie between 0 and --repeats ({self.repeats}), both excluded: it is a part of them",
            )
            rate = forms.rate_of_budget(self.budget, self.repeats)
            require(
                self.rejection_rate in (RATE, rate),
                f"--budget sets the rejection rate ({rate:g}): leave --rejection_rate out",
            )
            object.__setattr__(self, "rejection_rate", rate)
        super().__post_init__()
        require(self.sample_size >= 1, "--sample_size must be at least 1")
        require(self.eval_model_concurrency >= 0, "--eval_model_concurrency must not be negative (0 = adaptive)")
        require(self.scoring_concurrency >= 0, "--scoring_concurrency must not be negative (0 = no limit of its own)")
        require(not (self.optimistic and self.compat), "--optimistic is not part of --compat published")
        require(not (self.token_budget and self.compat), "--token_budget is not part of --compat published")
        if self.schedule == "question":
            self._fix(eval_model_concurrency=PUBLISHED_TARGET_LIMIT)
        learns = self.calibration in ("online", "adaptive")
        require(self.budget_kind is None or self.budget is not None, "--budget_kind is for --budget")
        bound = self.budget_kind == "bound"
        require(
            not (bound and self.calibration == "adaptive"),
            "--budget_kind bound contradicts --calibration adaptive, whose level would make up for it",
        )
        require(not (bound and self.compat), "--budget_kind bound is not part of --compat published")
        fixed = self.calibration in (None, "marginal", "per_question")
        require(self.bank_window is None or self.bank_window >= 1, "--bank_window must be at least 1")
        require(learns or self.bank_window is None, "--bank_window is for --calibration online and adaptive")
        require(self.gamma is None or 0 <= self.gamma <= 1, "--gamma must lie in [0, 1]")
        require(learns or self.gamma is None, "--gamma is for --calibration online and adaptive")
        require(self.gamma != 0 or self.calibration == "online", "--gamma 0 is for --calibration online")
        require(not learns or self.p_value in (None, "smoothed"), f"--calibration {self.calibration} smooths p-values")
        require(
            self.compat is None or (fixed and self.p_value in (None, "published")),
            "--compat published decides as published",
        )
        without = self.calibration is None and self.p_value is None
        require(self.takeover == "score" or without, "--takeover random decides without --calibration and --p_value")
        require(
            self.calibration != "online" or self.ppl_array_path is None,
            "--calibration online starts without scores: leave --ppl_array_path out, or use --calibration adaptive,"
            " which starts from an array",
        )
        require(
            self.compat is None or self.scoring_concurrency == 0,
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
        if self.on_rejection == "continue":
            return self.token_budget
        return min(
            self.turns * (self.small_model_max_tokens + self.evalator_max_tokens), self.token_budget or sys.maxsize
        )

    @property
    def most_turns(self) -> int:
        """Turns of the loop: where the text is limited instead, so many that they don't matter, since each turn
        but the last leaves a token at least."""
        return self.turns if self.on_rejection == "continue" else self.text_limit


@dataclass(frozen=True, kw_only=True)
class BaselineSettings(Queued):
    """Flags of baseline: one model alone, draft or target; --small_model_... name it whichever it is."""

    sglang_port: int = 40000
    """Port of the server on this machine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.draft_url  # raises if it is none

    @property
    def draft_url(self) -> str:
        return url("--small_model_url", self.small_model_url, "--sglang_port", self.sglang_port)
