"""What the settings of the front doors are put together from."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ATTS.console import require
from ATTS.tasks import datasets
from ATTS.tasks.datasets import default_data_dir

HOST = "127.0.0.1"
PUBLISHED_DRAFT_LIMIT, PUBLISHED_TARGET_LIMIT = 16, 4


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
class Answering(Run):
    """A run that reads answers off its chains."""

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


@dataclass(frozen=True, kw_only=True)
class Sampled(Answering):
    """A run that writes samples."""

    output_dir: Path | None = None
    """Result folder; default: results/... by the naming scheme."""

    repeats: int = 16
    """Samples of every question."""

    small_model_concurrency: int = 16
    """Most requests in flight at the server of the model that writes first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.repeats >= 1, "--repeats must be at least 1")
        least = 0 if isinstance(self, Queued) else 1
        require(self.small_model_concurrency >= least, f"--small_model_concurrency must be at least {least}")


@dataclass(frozen=True, kw_only=True)
class Samples(Common, Sampled):
    """A run whose samples grow turn by turn."""

    turns: int = 15
    """Most turns of a sample. With --on_rejection resample, where a turn leaves one chunk instead of up to two, the
    text is limited instead: to the tokens that so many turns may bring with --on_rejection continue."""

    token_budget: int = 0
    """Most tokens of a sample's text, over all turns and whoever writes them, to compare methods at the same
    budget; 0 = no limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.turns >= 1, "--turns must be at least 1")
        require(self.token_budget >= 0, "--token_budget must not be negative (0 = no limit)")

    def longest(self, of_a_turn: int) -> int:
        """Tokens that a chain may get at most, where a turn brings ``of_a_turn``."""
        return min(self.turns * of_a_turn, self.token_budget or sys.maxsize)


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
class Addresses:
    """Where both servers are."""

    small_model_port: int = 40000
    """Port of the draft server on this machine."""

    small_model_url: str | None = None
    """URL of the draft server or of a router before several; overrides its port."""

    eval_model_port: int = 40001
    """Port of the target server on this machine."""

    eval_model_url: str | None = None
    """URL of the target server or of a router before several; overrides its port."""

    @property
    def draft_url(self) -> str:
        return url("--small_model_url", self.small_model_url, "--small_model_port", self.small_model_port)

    @property
    def target_url(self) -> str:
        return url("--eval_model_url", self.eval_model_url, "--eval_model_port", self.eval_model_port)


@dataclass(frozen=True, kw_only=True)
class TwoServers(Addresses, OneServer):
    """A run with a target model, too."""

    eval_model_name: str
    """Target model: hub id, local folder, or the name its server was started with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.draft_url != self.target_url, f"draft and target are both at {self.draft_url}")


@dataclass(frozen=True, kw_only=True)
class Continued(TwoServers):
    """A run whose target continues chains."""

    evalator_max_tokens: int = 500
    """Most tokens the target writes when it takes over."""

    eval_model_temperature: float = 0.8
    """Sampling temperature of the target; 0 is greedy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.evalator_max_tokens >= 1, "--evalator_max_tokens must be at least 1")
        require(self.eval_model_temperature >= 0, "--eval_model_temperature must not be negative")


def url(url_flag: str, given: str | None, port_flag: str, port: int) -> str:
    """Where a server is. Raises ValueError naming the flag at fault."""
    if given is None:
        require(0 < port < 65536, f"{port_flag} {port} is not a port")
        return f"http://{HOST}:{port}"
    require(given.startswith(("http://", "https://")), f"{url_flag} {given!r} must start with http:// or https://")
    return given.rstrip("/")
