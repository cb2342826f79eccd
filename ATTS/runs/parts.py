"""The parts that settings are put together from. Each checks what it holds; the settings check what parts share."""

import sys
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Literal, Self

from tyro.conf import arg

from ATTS.flags import Incidental, NotNegative, Part, Positive, Range, Share, require, settle
from ATTS.method.score import WINDOW, Score, ScoreName, scoring
from ATTS.method.take_over import OnRejection, RejectionPolicy
from ATTS.runs.addresses import DraftAddress, TargetAddress
from ATTS.runs.failures import Failures
from ATTS.runs.sharding import Sharding
from ATTS.serving.chat_template import Thinking
from ATTS.serving.stall import STALL_SECONDS
from ATTS.tasks import answering, datasets
from ATTS.tasks.answering import ExtractMode
from ATTS.tasks.answers import FindAnswer

PUBLISHED_DRAFT_LIMIT, PUBLISHED_TARGET_LIMIT = 16, 4
RATE = 0.4


class Data(Part):
    """Which questions."""

    dataset_name: str
    """aime24, aime25, amc23 (or amc), math500, math500_easy, olympiad, gpqa, s1, gsm8k, demo, or a .jsonl file."""

    max_problems: NotNegative[Incidental[int]] = 0
    """Use the first N questions; 0 = all (demo: 100)."""

    data_dir: Incidental[Path | None] = None
    """Folder of data sets, <hub id>/[<subset>/]<split>.jsonl or .parquet; else $ATTS_DATA_DIR; else the hub."""

    calibration_split: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    """Keep this share of the questions, drawn by seed, for calibration only; 0 = evaluate all, and
    calibrate on the evaluated ones. demo always calibrates on problems of its own."""

    seed: int = 0
    """Draws demo problems and the calibration split. Sampling itself is not seeded: servers ignore it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        name, folder = datasets.canonical(self.dataset_name), self.data_dir or datasets.default_data_dir()
        settle(self, dataset_name=name, data_dir=folder)


class Requests(Part):
    """How both servers are asked."""

    top_p: Annotated[float, Range(0, 1, open_low=True)] = 1.0
    """Nucleus sampling of all models; 1 is off."""

    thinking: Thinking = "default"
    """Whether models think first, where their chat templates have a switch for it (Qwen3); default: as it stands."""

    max_retries: NotNegative[Incidental[int]] = 3
    """How often a failed request is tried again."""

    request_timeout: Annotated[Incidental[float], Range(0, open_low=True)] = 600.0
    """Seconds until a request without an answer counts as failed."""

    stall_timeout: Annotated[Incidental[float], Range(0, open_low=True)] = STALL_SECONDS
    """Seconds that a server may show no sign of life while requests wait for it: no answer to any, and no progress by
    its page of metrics. Then all of them count as failed; of several servers a side, the others take them."""


class DraftModel(DraftAddress):
    """The model that writes first."""

    name: Annotated[str, arg(name="small_model_name")]
    """Draft model: hub id, local folder, or the name its server was started with."""


class Draft(DraftModel):
    """The model that writes first, chunk by chunk."""

    max_tokens: Annotated[Positive[int], arg(name="small_model_max_tokens")] = 500
    """Most tokens of one draft chunk."""

    temperature: Annotated[NotNegative[float], arg(name="small_model_temperature")] = 0.8
    """Sampling temperature of the draft; 0 is greedy."""


class Alone(Draft):
    """The only model."""

    port: Annotated[Incidental[int], arg(name="sglang_port")] = 40000
    """Port of the server on this machine."""


class TargetModel(TargetAddress):
    """The model that helps."""

    name: Annotated[str, arg(name="eval_model_name")]
    """Target model: hub id, local folder, or the name its server was started with."""


class Target(TargetModel):
    """The model that scores chunks and continues those that are rejected."""

    max_tokens: Annotated[Positive[int], arg(name="evalator_max_tokens")] = 500
    """Most tokens the target writes when it takes over."""

    temperature: Annotated[NotNegative[float], arg(name="eval_model_temperature")] = 0.8
    """Sampling temperature of the target; 0 is greedy."""


class Scoring(Part):
    """How chunks are scored, and how many of them go to the target."""

    use_chat_template: bool = False
    """Score a chunk behind the target's chat template (_ct1) rather than behind the raw question (_ct0)."""

    ppl_array_path: Incidental[Path | None] = None
    """The calibration array; default: evaluation/ppls_... by the naming scheme."""

    score: ScoreName = "mean"
    """What a chunk's log-probabilities under the target amount to: perplexity, exp(-mean) (mean, as in the
    published code); the negative log-likelihood, -sum (sum, as in the paper), which grows with the chunk's length;
    the largest mean of -log p over --score_window tokens in a row (worst_window) or of one (worst_token); or the
    mean of the three largest differences to the log-probability of the target's own choice (regret)."""

    score_window: Positive[int | None] = None
    """--score worst_window: tokens in a row; default 5."""

    on_rejection: OnRejection = "continue"
    """What becomes of a rejected chunk: the target continues behind it (as in the paper), or writes in its place
    (resample). In calibration it matters with --turns only, but for --score_answers."""

    score_answers: bool | None = None
    """Score a chunk that holds an answer, too, before it ends the sample, so that it can be rejected; default:
    with --on_rejection resample. An array holds scores of such chunks or doesn't."""

    draft_attempts: Positive[int] = 1
    """--on_rejection resample: the target writes a chunk after this many drafts of it were rejected."""

    compat: Literal["published"] | None = None
    """published: do exactly what the published driver does, flaws included (docs/FIDELITY.md), with
    --extract_mode published unless another is given, and in a run --schedule question. An array for such a run
    is made with it, too: it has chunks that answer, which only such a run scores."""

    rejection_rate: Share[float] = RATE
    """Share of chunks to hand to the target, 0 (none) to 1 (all that are scored): it takes over iff the percentile
    reaches 1 - rate. In calibration it matters with --turns only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        published, resample = self.compat is not None, self.on_rejection == "resample"
        require(not published or self.score == "mean", "--compat published scores by --score mean")
        require(not (published and resample), "--compat published continues behind a rejected chunk")
        window = self.score == "worst_window" or self.score_window is None
        require(window, "--score_window is for --score worst_window")
        require(
            resample or not self.score_answers,
            "--score_answers is for --on_rejection resample: behind an answer that stays, nothing can be mended",
        )
        require(resample or self.draft_attempts == 1, "--draft_attempts above 1 is for --on_rejection resample")

    def settled(self) -> Self:
        """With what follows from the flags that were given."""
        answers = self.on_rejection == "resample" if self.score_answers is None else self.score_answers
        window = WINDOW if self.score == "worst_window" and self.score_window is None else self.score_window
        return replace(self, score_answers=answers, score_window=window)

    @property
    def measure(self) -> Score:
        """Of a chunk."""
        return scoring(self.score, self.score_window)

    @property
    def policy(self) -> RejectionPolicy:
        """What becomes of a rejected chunk."""
        return RejectionPolicy(self.on_rejection, self.draft_attempts, bool(self.score_answers))


class Answers(Part):
    """How answers are read."""

    extract_mode: ExtractMode = "regex"
    """How answers are read: by regex with balanced braces (the default), up to the first closing brace (published), or
    at the end of a chain by an OpenAI-compatible model (llm: OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL)."""

    answer_after_think: bool = False
    """Count answers behind </think> only: for models that think, a box before it is an intermediate result.
    As published, every box counts."""

    def reader(self) -> FindAnswer:
        """What looks for an answer while a chain grows."""
        return answering.reader(self.extract_mode, self.answer_after_think)


class Samples(Part):
    """How many samples."""

    repeats: Positive[int] = 16
    """Samples of every question."""


class Chains(Samples):
    """How many samples, and how long: they grow turn by turn."""

    turns: Positive[int] = 15
    """Most turns of a sample. With --on_rejection resample, where a turn leaves one chunk instead of up to two, the
    text is limited instead: to the tokens that this number of turns may bring with --on_rejection continue."""

    token_budget: NotNegative[int] = 0
    """Most tokens of a sample's text, whoever writes them, to compare methods at the same budget; 0 = no limit."""

    def longest(self, of_a_turn: int) -> int:
        """Tokens that a chain may get at most, where a turn brings ``of_a_turn``."""
        return min(self.turns * of_a_turn, self.token_budget or sys.maxsize)


class PairLimits(Part):
    """How much is in flight."""

    draft: Annotated[Positive[Incidental[int]], arg(name="small_model_concurrency")] = 16
    """Most requests in flight at each draft server."""

    target: Annotated[Positive[Incidental[int]], arg(name="eval_model_concurrency")] = 4
    """Most requests in flight at each target server."""

    def places(self, draft: DraftAddress, target: TargetAddress) -> int:
        """Requests in flight at most, at all servers."""
        return self.draft * len(draft.urls) + self.target * len(target.urls)


class QueueLimits(Part):
    """How much is in flight; a run finds that by itself unless it is told."""

    draft: Annotated[NotNegative[Incidental[int]], arg(name="small_model_concurrency")] = 0
    """Most requests in flight at each server of the model that writes first; 0 = adaptive: as many as its
    memory holds (with --schedule question and --compat published: 16, as published)."""

    samples: Annotated[NotNegative[Incidental[int]], arg(name="samples_in_flight")] = 0
    """Most samples under way; 0 = adaptive (where all requests are limited: the sum of those limits)."""

    schedule: Incidental[Literal["queue", "question"]] = "queue"
    """queue: all samples in one queue. question: one question's after the other's, as the published driver does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule == "question":
            settle(self, draft=self.draft or PUBLISHED_DRAFT_LIMIT)


class LoopLimits(QueueLimits):
    """How much is in flight; a run finds that by itself unless it is told."""

    target: Annotated[NotNegative[Incidental[int]], arg(name="eval_model_concurrency")] = 0
    """Most requests in flight at each target server, scoring and continuing; 0 = adaptive (with --schedule
    question and --compat published: 4, as published)."""

    scoring: Annotated[NotNegative[Incidental[int]], arg(name="scoring_concurrency")] = 0
    """A limit of its own for scoring requests, apart from --eval_model_concurrency; 0 = none, that counts both."""

    optimistic: Incidental[bool] = False
    """Let the draft write on while its last chunk is scored. Same results, sooner; what it wrote behind a
    chunk that is then rejected was for nothing, so it pays where the draft server has room to spare."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule == "question":
            settle(self, target=self.target or PUBLISHED_TARGET_LIMIT)


class Output(Part):
    """What may be written over, and what is shown meanwhile."""

    force: Incidental[bool] = False
    """Accept a calibration array or a result folder made with other settings."""

    quiet: Incidental[bool] = False
    """Show nothing of how far the work has come (of a run, python -m ATTS.watch does)."""


class Resumable(Output):
    """Where the samples go."""

    resume: Path | None = field(default=None, compare=False)  # no setting: it says where the settings are
    """Resume the run in this folder with its settings; beside it only flags that decide no result, such as ports."""


class Results(Resumable):
    """Where the samples go."""

    output_dir: Incidental[Path | None] = None
    """Result folder; default: results/... by the naming scheme."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, output_dir=self.resume or self.output_dir)


class RunSettings(Part):
    """What the settings of every run hold."""

    data: Data
    answers: Answers = Answers()
    samples: Samples = Samples()
    requests: Requests = Requests()
    failures: Failures = Failures()
    output: Results = Results()
    sharding: Sharding = Sharding()
