"""Default file names: the published naming scheme, so that commands find each other's files."""

from pathlib import Path

from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings
from ATTS.runs.voting import Voting

# The short names of the published files; any other model goes by the last part of its own name.
SHORT = {
    "Qwen/QwQ-32B": "qwq_32B",
    "simplescaling/s1.1-32B": "s1.1_32B",
    "simplescaling/s1.1-7B": "s1.1_7B",
    "Skywork/Skywork-OR1-32B": "Skywork_32B",
    "Skywork/Skywork-OR1-7B": "Skywork_7B",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": "rllama_8B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": "r1_1B",
    "meta-llama/Llama-3.1-8B-Instruct": "llama_8B",
    "Qwen/Qwen2.5-7B-Instruct": "qwen_7B",
}


def short(model: str) -> str:
    """A model's part of a file name: its short name, or the last part of its path."""
    return SHORT.get(model, model.rstrip("/").rpartition("/")[2])


def dataset(name: str) -> str:
    """A data set's part of a file name: its name, or a JSONL file's stem."""
    return Path(name).stem if name.endswith(".jsonl") else name


def calibration_array(settings: ConformalSettings | AsyncSettings, per_question: bool) -> Path:
    """evaluation/ppls_<data set>_<target>_<draft>_s<samples>_t<tokens>_temp<temperature><mode>.npy"""
    if isinstance(settings, ConformalSettings):
        size, turns = settings.calibration.sample_size, settings.calibration.turns > 1
    else:
        size, turns = settings.rule.sample_size, settings.rule.calibration == "per_turn"
    name = (
        f"ppls_{dataset(settings.data.dataset_name)}_{short(settings.target.name)}_{short(settings.draft.name)}"
        f"_s{size}_t{settings.draft.max_tokens}_temp{settings.draft.temperature:g}"
    )
    # First chunks don't depend on what a rejection does.
    answers = "_answers" if settings.scoring.score_answers else ""
    kind = ("_per_turn" if turns else "") + _score(settings) + (_replacing(settings) if turns else answers)
    return Path("evaluation") / f"{name}{_mode(settings, per_question)}{kind}.npy"


def async_results(settings: AsyncSettings, per_question: bool) -> Path:
    """The result folder of ref_async."""
    s = settings
    name = (
        f"{short(s.draft.name)}_{short(s.target.name)}_{dataset(s.data.dataset_name)}"
        f"_sm{s.draft.max_tokens}_em{s.target.max_tokens}_t{s.samples.turns}_smt{s.draft.temperature:g}"
        f"_sct{s.draft.temperature:g}_emt{s.target.temperature:g}"
        f"_smc{s.limits.draft}_emc{s.limits.target}"
    )
    variant = ("_random" if s.rule.takeover == "random" else "") + (f"_{s.scoring.compat}" if s.scoring.compat else "")
    if s.rule.calibration not in (None, "marginal", "per_question"):
        variant += f"_{s.rule.calibration}"
    return (
        Path("results")
        / f"{name}{_mode(settings, per_question)}{variant}{_score(settings)}{_replacing(settings)}{_stop(s.voting)}"
    )


def baseline_results(settings: BaselineSettings) -> Path:
    """The result folder of baseline."""
    s = settings
    name = (
        f"{short(s.draft.name)}_{dataset(s.data.dataset_name)}_sm{s.draft.max_tokens}_t{s.samples.turns}"
        f"_smt{s.draft.temperature:g}_smc{s.limits.draft}{_stop(s.voting)}"
    )
    return Path("results") / name


def _stop(voting: Voting) -> str:
    """Nothing where all samples are run."""
    return (
        ""
        if voting.stop == "none"
        else f"_{voting.stop}{'' if voting.stop_threshold is None else f'{voting.stop_threshold:g}'}"
    )


def _score(settings: ConformalSettings | AsyncSettings) -> str:
    """Nothing for the published score."""
    scoring = settings.scoring
    return "" if scoring.score == "mean" else f"_{scoring.score}{scoring.score_window or ''}"


def _replacing(settings: ConformalSettings | AsyncSettings) -> str:
    """Nothing for the published take-over."""
    scoring = settings.scoring
    if scoring.on_rejection == "continue":
        return ""
    attempts = "" if scoring.draft_attempts == 1 else f"_a{scoring.draft_attempts}"
    return "_resample" + attempts + ("" if scoring.score_answers else "_unscored_answers")


def _mode(settings: ConformalSettings | AsyncSettings, per_question: bool) -> str:
    """As published: _ct0 or _ct1 for one calibration set, _per_question for one a question (there
    without a template; with it this project adds _ct1)."""
    if per_question:
        return "_ct1_per_question" if settings.scoring.use_chat_template else "_per_question"
    return f"_ct{settings.scoring.use_chat_template:d}"
