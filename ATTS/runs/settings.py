"""Settings of each front door: one frozen dataclass each, from which the flags are made.

Names are those of the published flags: ``small_model`` is the draft and ``eval_model`` the target.
Inside the package they are called draft and target; this file is where the names meet.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ATTS.method.conformal import forms
from ATTS.tasks import datasets

HOST = "127.0.0.1"
PUBLISHED_DRAFT_LIMIT, PUBLISHED_TARGET_LIMIT = 16, 4


def default_data_dir() -> Path | None:
    folder = os.environ.get("ATTS_DATA_DIR")
    return Path(folder) if folder else None


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every run needs: a data set, and how to talk to servers."""

    dataset_name: str
    """aime24, aime25, amc23 (or amc), math500, olympiad, gpqa, s1, gsm8k, demo, or a .jsonl file."""

    top_p: float = 1.0
    """Nucleus sampling of all models; 1 is off."""

    max_problems: int = 0
    """Use the first so many questions; 0 = all (demo: 100)."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets, as <hub id>/[<subset>/]<split>.jsonl or .parquet;
    else $ATTS_DATA_DIR; else the hub."""

    calibration_split: float = 0.0
    """Keep this share of the questions, drawn by seed, for calibration only; 0 = evaluate all, and
    calibrate on the evaluated ones. demo always calibrates on problems of its own."""

    seed: int = 0
    """Draws demo problems and the calibration split. Sampling itself is not seeded: servers ignore it."""

    max_retries: int = 3
    """How often a failed request is tried again."""

    request_timeout: float = 600.0
    """Seconds until a request without an answer counts as failed."""

    force: bool = False
    """Accept a calibration array or a result folder made with other settings."""

    def __post_init__(self) -> None:
        if self.data_dir is None:
            object.__setattr__(self, "data_dir", default_data_dir())
        object.__setattr__(self, "dataset_name", datasets.canonical(self.dataset_name))
        require(0 < self.top_p <= 1, "--top_p must lie in (0, 1]")
        require(0 <= self.calibration_split < 1, "--calibration_split must lie in [0, 1)")
        require(self.max_problems >= 0, "--max_problems must not be negative (0 = all)")
        require(self.max_retries >= 0, "--max_retries must not be negative")
        require(self.request_timeout > 0, "--request_timeout must be positive")


@dataclass(frozen=True, kw_only=True)
class OneServer(Run):
    """A run with a draft model, or with a model alone."""

    small_model_name: str
    """Draft model: hub id, local folder, or the name its server was started with."""

    small_model_url: str | None = None
    """URL of the draft server or of a router before several; overrides its port."""


@dataclass(frozen=True, kw_only=True)
class Common(OneServer):
    """A run whose draft model writes chunks of a limited length."""

    small_model_max_tokens: int = 500
    """Most tokens of one draft chunk."""

    small_model_temperature: float = 0.8
    """Sampling temperature of the draft; 0 is greedy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.small_model_max_tokens >= 1, "--small_model_max_tokens must be at least 1")
        require(self.small_model_temperature >= 0, "--small_model_temperature must not be negative")


@dataclass(frozen=True, kw_only=True)
class Sampled(Run):
    """A run that writes samples."""

    output_dir: Path | None = None
    """Result folder; default: results/... by the naming scheme."""

    repeats: int = 16
    """Samples of every question."""

    small_model_concurrency: int = 16
    """Most requests in flight at the server of the model that writes first."""

    extract_mode: Literal["regex", "published", "llm"] | None = None
    """How answers are read: by regex with balanced braces (the default), up to the first closing brace
    (published, as those runs did), or at the end of a chain by an OpenAI-compatible model (llm:
    OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL)."""

    answer_after_think: bool = False
    """Count answers behind </think> only: for models that think, a box before it is an intermediate result.
    As published, every box counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extract_mode is None:
            object.__setattr__(self, "extract_mode", "regex")
        require(self.repeats >= 1, "--repeats must be at least 1")
        least = 0 if isinstance(self, Queued) else 1
        require(self.small_model_concurrency >= least, f"--small_model_concurrency must be at least {least}")


@dataclass(frozen=True, kw_only=True)
class Samples(Common, Sampled):
    """A run whose samples grow turn by turn."""

    turns: int = 15
    """Most turns of a sample."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.turns >= 1, "--turns must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Queued(Samples):
    """A run that finds by itself how much to keep in flight, unless it is told."""

    small_model_concurrency: int = 0
    """Most requests in flight at the server of the model that writes first; 0 = adaptive: as many as its
    memory holds (with --schedule question and --compat published: 16, as published)."""

    samples_in_flight: int = 0
    """Most samples under way; 0 = adaptive (where all requests are limited: the sum of those limits)."""

    schedule: Literal["queue", "question"] = "queue"
    """queue: all samples in one queue. question: one question's samples after the other's, each time
    waiting for the slowest, as the published driver does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.samples_in_flight >= 0, "--samples_in_flight must not be negative (0 = adaptive)")
        if self.schedule == "question":
            self._fix(small_model_concurrency=PUBLISHED_DRAFT_LIMIT)

    def _fix(self, **limits: int) -> None:
        """Sets the limits that the user left open."""
        for name, limit in limits.items():
            if getattr(self, name) == 0:
                object.__setattr__(self, name, limit)


@dataclass(frozen=True, kw_only=True)
class TwoServers(OneServer):
    """A run with a target model, too."""

    eval_model_name: str
    """Target model: hub id, local folder, or the name its server was started with."""

    small_model_port: int = 40000
    """Port of the draft server on this machine."""

    eval_model_port: int = 40001
    """Port of the target server on this machine."""

    eval_model_url: str | None = None
    """URL of the target server or of a router before several; overrides its port."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.draft_url != self.target_url, f"draft and target are both at {self.draft_url}")

    @property
    def draft_url(self) -> str:
        return url("--small_model_url", self.small_model_url, "--small_model_port", self.small_model_port)

    @property
    def target_url(self) -> str:
        return url("--eval_model_url", self.eval_model_url, "--eval_model_port", self.eval_model_port)


@dataclass(frozen=True, kw_only=True)
class _Pair(TwoServers, Common):
    """What calibration and the loop share."""

    use_chat_template: bool = False
    """Score a chunk behind the target's chat template (_ct1) rather than behind the raw question (_ct0)."""

    ppl_array_path: Path | None = None
    """The calibration array; default: evaluation/ppls_... by the naming scheme."""


@dataclass(frozen=True, kw_only=True)
class ConformalSettings(_Pair):
    """Flags of ref_conformal and ref_conformal_per_question."""

    sample_size: int = 16
    """First chunks scored for every question."""

    max_concurrent: int = 16
    """Most requests in flight at each server."""

    turns: int = 1
    """1: score first chunks. More: run the loop for so many turns and score the chunks of each, for
    --calibration per_turn; the flags below are those of the run that it is for."""

    rejection_rate: float = 0.4
    """Share of chunks to hand to the target, where more than one turn is calibrated."""

    evalator_max_tokens: int = 500
    """Most tokens the target writes when it takes over, where more than one turn is calibrated."""

    eval_model_temperature: float = 0.8
    """Sampling temperature of the target, where more than one turn is calibrated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sample_size >= 1, "--sample_size must be at least 1: there is nothing to calibrate with")
        require(self.max_concurrent >= 1, "--max_concurrent must be at least 1")
        require(self.turns >= 1, "--turns must be at least 1")
        require(self.evalator_max_tokens >= 1, "--evalator_max_tokens must be at least 1")
        require(self.eval_model_temperature >= 0, "--eval_model_temperature must not be negative")
        require(0 < self.rejection_rate < 1, "--rejection_rate must lie between 0 and 1, both excluded")


@dataclass(frozen=True, kw_only=True)
class AsyncSettings(_Pair, Queued):
    """Flags of ref_async and ref_async_per_question."""

    sample_size: int = 16
    """Calibration samples a question; only names the default calibration array."""

    evalator_max_tokens: int = 500
    """Most tokens the target writes when it takes over."""

    eval_model_temperature: float = 0.8
    """Sampling temperature of the target; 0 is greedy."""

    eval_model_concurrency: int = 0
    """Most requests in flight at the target server, scoring and continuing; 0 = adaptive (with --schedule
    question and --compat published: 4, as published)."""

    rejection_rate: float = 0.4
    """Share of chunks to hand to the target: it takes over iff the percentile reaches 1 - rate."""

    takeover: Literal["score", "random"] = "score"
    """What decides: the chunk's score, or (a control) a coin of the same rejection rate."""

    compat: Literal["published"] | None = None
    """published: do exactly what the published driver does, flaws included (docs/FIDELITY.md), with
    --extract_mode published unless another is given and --schedule question."""

    calibration: Literal["marginal", "per_question", "per_turn", "grouped", "online", "adaptive"] | None = None
    """What a chunk's score is compared with (docs/GUARANTEES.md): the scores of the whole data set (the
    default), of its question, of its turn, or of its question's group; those that came before it in this
    run (online: needs no array); or these with a level that follows the rate (adaptive)."""

    budget: int | None = None
    """Chunks to hand to the target of the --repeats that a question has at a turn; sets the rejection rate
    to budget / repeats."""

    p_value: Literal["published", "bounded", "smoothed"] | None = None
    """How a score's rank becomes a decision: percentile >= 1 - rate (published, the default); a conformal
    p-value that rejects at most the rate (bounded); or one that rejects exactly it, by a draw between
    neighbouring ranks (smoothed, which online and adaptive always use)."""

    bank_window: int | None = None
    """online, adaptive: compare with the newest so many scores of the turn; default: all."""

    gamma: float | None = None
    """adaptive: how far the level moves after a decision; default 1/19, which holds the rate within 0.05
    over every 400 decisions, whatever the scores do: (1 + gamma) / (gamma 400)."""

    scoring_concurrency: int = 0
    """A limit of its own for scoring requests, apart from --eval_model_concurrency; 0 = none, that counts both."""

    optimistic: bool = False
    """Let the draft write on while its last chunk is scored. Same results, sooner; what it wrote behind a
    chunk that is then rejected was for nothing, so it pays where the draft server has room to spare."""

    def __post_init__(self) -> None:
        if self.compat == "published":
            object.__setattr__(self, "schedule", "question")
            if self.extract_mode is None:
                object.__setattr__(self, "extract_mode", "published")
        if self.budget is not None:
            require(
                0 < self.budget < self.repeats,
                f"--budget must lie between 0 and --repeats ({self.repeats}), both excluded: it is a part of them",
            )
            object.__setattr__(self, "rejection_rate", forms.rate_of_budget(self.budget, self.repeats))
        super().__post_init__()
        require(self.sample_size >= 1, "--sample_size must be at least 1")
        require(self.evalator_max_tokens >= 1, "--evalator_max_tokens must be at least 1")
        require(self.eval_model_temperature >= 0, "--eval_model_temperature must not be negative")
        require(self.eval_model_concurrency >= 0, "--eval_model_concurrency must not be negative (0 = adaptive)")
        require(self.scoring_concurrency >= 0, "--scoring_concurrency must not be negative (0 = no limit of its own)")
        require(not (self.optimistic and self.compat), "--optimistic is not part of --compat published")
        if self.schedule == "question":
            self._fix(eval_model_concurrency=PUBLISHED_TARGET_LIMIT)
        require(0 < self.rejection_rate < 1, "--rejection_rate must lie between 0 and 1, both excluded")
        learns = self.calibration in ("online", "adaptive")
        fixed = self.calibration in (None, "marginal", "per_question")
        require(self.bank_window is None or self.bank_window >= 1, "--bank_window must be at least 1")
        require(learns or self.bank_window is None, "--bank_window is for --calibration online and adaptive")
        require(self.gamma is None or 0 < self.gamma <= 1, "--gamma must lie in (0, 1]")
        require(self.calibration == "adaptive" or self.gamma is None, "--gamma is for --calibration adaptive")
        require(not learns or self.p_value in (None, "smoothed"), f"--calibration {self.calibration} smooths p-values")
        require(
            self.compat is None or (fixed and self.p_value in (None, "published")),
            "--compat published decides as published",
        )
        require(self.takeover == "score" or self.calibration is None, "--takeover random decides without calibration")


@dataclass(frozen=True, kw_only=True)
class BaselineSettings(Queued):
    """Flags of baseline: one model alone, draft or target; --small_model_... name it whichever it is."""

    sglang_port: int = 40000
    """Port of the server on this machine."""

    token_budget: int = 0
    """Most tokens of a sample, over all turns, to compare methods at the same budget; 0 = no limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.token_budget >= 0, "--token_budget must not be negative (0 = no limit)")
        _ = self.draft_url  # raises if it is none

    @property
    def draft_url(self) -> str:
        return url("--small_model_url", self.small_model_url, "--sglang_port", self.sglang_port)


def url(url_flag: str, given: str | None, port_flag: str, port: int) -> str:
    """Where a server is. Raises ValueError naming the flag at fault."""
    if given is None:
        require(0 < port < 65536, f"{port_flag} {port} is not a port")
        return f"http://{HOST}:{port}"
    require(given.startswith(("http://", "https://")), f"{url_flag} {given!r} must start with http:// or https://")
    return given.rstrip("/")
