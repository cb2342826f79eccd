"""Settings of the baselines: SpecReason, Speculative Thinking, and a fixed budget of take-overs."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Fixed, arg

from ATTS.flags import Incidental, NotNegative, Part, Positive, Range, Share, require, settle
from ATTS.runs import addresses, parts
from ATTS.runs.sharding import Sharding

SPEC_REASON_NAMES = {"math": "math500"}  # what SpecReason calls a data set; aime goes by its year
AIME_2024_FIRST = 60  # the published number of its first problem


class Budget(Part):
    """How many samples are taken over."""

    takeover_budget: NotNegative[int]
    """Take-overs a question and turn."""

    takeover_rate: Share[float | None] = None
    """Instead of --takeover_budget: the share of a question's samples (sync: of its live ones) to take over at
    every turn; whole samples, rounded up or down by a draw that makes it right on the average."""


class SyncBudget(Budget):
    """How many samples are taken over, and how they are scored."""

    takeover_budget: NotNegative[int] = 5
    """At every turn the target takes over this many of a question's live samples: those with the highest perplexity."""

    use_chat_template: bool = False
    """Score a chunk behind the target's chat template rather than behind the raw question."""


class AsyncBudget(Budget):
    """How many samples are taken over."""

    takeover_budget: NotNegative[int] = 10
    """For every turn this many of a question's samples are drawn; the target takes over those that are still live."""


class _FixedBudgetSettings(parts.RunSettings):
    """What both have."""

    draft: parts.Draft
    target: parts.Target
    budget: Budget
    samples: parts.Chains = parts.Chains()
    limits: parts.PairLimits = parts.PairLimits()

    def __post_init__(self) -> None:
        addresses.apart(self.draft, self.target)


class SyncFixBudgetSettings(_FixedBudgetSettings):
    """Flags of ref_sync_fix_budget."""

    budget: SyncBudget = SyncBudget()


class AsyncFixBudgetSettings(_FixedBudgetSettings):
    """Flags of ref_async_fix_budget."""

    budget: AsyncBudget = AsyncBudget()


class SpecReasonData(parts.Data):
    """Which questions. The data sets' own names in SpecReason (aime, math) are understood, too."""

    aime_year: int = 2024
    """Which aime: 2024 or 2025."""

    problem_id: NotNegative[Incidental[int | None]] = None
    """Only this question of the data set, by its number (aime 2024: from 60 on, as published)."""

    def __post_init__(self) -> None:
        given = self.dataset_name
        require(self.aime_year in (2024, 2025), "--aime_year must be 2024 or 2025")
        name = f"aime{self.aime_year % 100}" if given == "aime" else SPEC_REASON_NAMES.get(given, given)
        if name != f"aime{self.aime_year % 100}":
            require(self.aime_year == 2024, f"--aime_year {self.aime_year} is for --dataset_name aime, not {given}")
        settle(self, dataset_name=name)
        if given == "aime" and name == "aime24" and self.problem_id is not None:
            require(self.problem_id >= AIME_2024_FIRST, f"aime 2024 is numbered from {AIME_2024_FIRST} on")
            settle(self, problem_id=self.problem_id - AIME_2024_FIRST)
        super().__post_init__()


class SpecReasonSamples(parts.Samples):
    """How many samples."""

    repeat_id: Incidental[int | None] = None
    """Only this sample of every question, by its number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.repeat_id is None or 0 <= self.repeat_id < self.repeats,
            f"--repeat_id must lie between 0 and --repeats - 1 ({self.repeats - 1})",
        )


class Steps(Part):
    """How steps are written and graded."""

    temperature: NotNegative[float] = 0.6
    """Sampling temperature of both models; grading is greedy."""

    score_threshold: float = 7.0
    """A step of the draft is kept if its grade, 0 to 9, is at least this."""

    score_method: Literal["greedy", "average"] = "greedy"
    """The grade is the likeliest token, or the mean over the digits by their probabilities."""

    token_budget: Positive[int] = 8192
    """Most tokens of a sample, counted over the steps that are kept."""

    first_n_steps_base_model: NotNegative[int] = 0
    """The target writes this many first steps, without a grade."""

    step_max_tokens: Positive[int] = 512
    """Most tokens of one step."""

    backend: Literal["sglang", "openai"] = "sglang"
    """How both servers are spoken to: SGLang's /generate with token ids, or chat completions, which any
    OpenAI-compatible server has (the key, if it wants one, in OPENAI_API_KEY)."""

    compat: Literal["published"] | None = None
    """published: with the flaws of the published code that change what is written (docs/baselines.md)."""


class SpecReasonSettings(parts.RunSettings):
    """Flags of spec_reason."""

    draft: parts.DraftModel
    target: parts.TargetModel
    data: SpecReasonData
    steps: Steps = Steps()
    samples: SpecReasonSamples = SpecReasonSamples()
    requests: parts.Requests = parts.Requests(top_p=0.95)
    limits: parts.PairLimits = parts.PairLimits()

    def __post_init__(self) -> None:
        addresses.apart(self.draft, self.target)


class Slice(Part):
    """Which part of a data set."""

    start: NotNegative[Incidental[int]] = 0
    """First question, counted without those of --calibration_split."""

    end: Annotated[Incidental[int], Range(-1)] = -1
    """Question to stop before, counted in the same way; -1 = all."""


class Writing(Part):
    """How both models write."""

    max_tokens: Positive[int] = 32768
    """Most tokens of a sample, prompt included."""

    top_k: int = 50
    """Both models sample from the N likeliest tokens; 0 = all."""

    compat: Literal["published"] | None = None
    """published: with the flaws of the published code that change what is written (docs/baselines.md)."""


class OneRun(Part):
    """What one run of Speculative Thinking has of its own. ``draft`` is None for a target alone."""

    target: Annotated[str, arg(name="eval_model_name")]
    draft: Annotated[str | None, arg(name="small_model_name")]
    target_url: Annotated[Incidental[addresses.Urls], arg(name="eval_model_url")]
    draft_url: Annotated[Incidental[addresses.Urls | None], arg(name="small_model_url")]
    temperature: float
    rules: Annotated[dict[str, object], Fixed]


class ThinkingSettings(parts.RunSettings):
    """One run of Speculative Thinking: a data set at a temperature. ``speculative_thinking`` makes them."""

    run: OneRun
    part: Slice
    writing: Writing
    limits: parts.PairLimits


class ThinkingModels(Part):
    """Which models and rules."""

    spe_config: Path | None = None
    """YAML file with the models and the rules (configs/speculative_thinking/); one without a speculative
    model runs the target alone."""

    model: str | None = None
    """Without --spe_config: the model to run alone, at the target's server."""

    def __post_init__(self) -> None:
        require((self.spe_config is None) != (self.model is None), "give either --spe_config or --model")


class Evaluations(Part):
    """Which runs."""

    evals: str = "math500,aime24,gpqa_diamond"
    """Data sets, separated by commas: aime24, aime25, amc23, math500, gpqa_diamond (or gpqa), gsm8k,
    olympiadbench_math_en (or olympiad), s1, demo, or .jsonl files."""

    n: Positive[int] = 5
    """Samples of every question."""

    temperatures: NotNegative[tuple[float, ...]] = (0.6,)
    """Sampling temperatures of both models, a run each."""

    calibration_split: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    """Leave out this share of the questions, drawn by seed, that other methods calibrate on."""

    seed: int = 0
    """Draws demo problems and the calibration split. Sampling itself is not seeded: servers ignore it."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets; else $ATTS_DATA_DIR; else the hub."""

    result_dir: Path = Path("eval")
    """Where result folders go, <configuration>_<data set>_t<temperature>_n<samples> each."""

    folder: str | None = None
    """Name of the one result folder, where there is one data set and one temperature."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.evals.strip(", ")), "--evals names no data set")
        several = "," in self.evals.strip(", ") or len(self.temperatures) > 1
        require(self.folder is None or not several, "--folder names one folder, but there are several runs")
        require(bool(self.temperatures), "--temperatures names none")


class SpeculativeThinkingSettings(Part):
    """Flags of speculative_thinking."""

    stored_as: ClassVar[type] = ThinkingSettings  # in each folder, and so with --resume

    draft: addresses.DraftAddress = addresses.DraftAddress()
    target: addresses.TargetAddress = addresses.TargetAddress()
    models: ThinkingModels
    evaluations: Evaluations = Evaluations()
    part: Slice = Slice()
    writing: Writing = Writing()
    answers: parts.Answers = parts.Answers()
    requests: parts.Requests = parts.Requests(top_p=0.95)
    limits: parts.PairLimits = parts.PairLimits(target=16)
    output: parts.Resumable = parts.Resumable()
    sharding: Sharding = Sharding()
