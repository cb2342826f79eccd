"""Default file names: the published naming scheme, so that commands find each other's files."""

from pathlib import Path

from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings

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
    return SHORT.get(model, model.rstrip("/").rpartition("/")[2])


def dataset(name: str) -> str:
    """A data set's part of a file name: its name, or a JSONL file's stem."""
    return Path(name).stem if name.endswith(".jsonl") else name


def calibration_array(settings: ConformalSettings | AsyncSettings, per_question: bool) -> Path:
    """evaluation/ppls_<data set>_<target>_<draft>_s<samples>_t<tokens>_temp<temperature><mode>.npy"""
    name = (
        f"ppls_{dataset(settings.dataset_name)}_{short(settings.eval_model_name)}_{short(settings.small_model_name)}"
        f"_s{settings.sample_size}_t{settings.small_model_max_tokens}_temp{settings.small_model_temperature:g}"
    )
    turns = settings.turns > 1 if isinstance(settings, ConformalSettings) else settings.calibration == "per_turn"
    # First chunks don't depend on what a rejection does.
    answers = "_answers" if settings.score_answers else ""
    kind = ("_per_turn" if turns else "") + _score(settings) + (_replacing(settings) if turns else answers)
    return Path("evaluation") / f"{name}{_mode(settings, per_question)}{kind}.npy"


def async_results(settings: AsyncSettings, per_question: bool) -> Path:
    s = settings
    name = (
        f"{short(s.small_model_name)}_{short(s.eval_model_name)}_{dataset(s.dataset_name)}"
        f"_sm{s.small_model_max_tokens}_em{s.evalator_max_tokens}_t{s.turns}_smt{s.small_model_temperature:g}"
        f"_sct{s.small_model_temperature:g}_emt{s.eval_model_temperature:g}"
        f"_smc{s.small_model_concurrency}_emc{s.eval_model_concurrency}"
    )
    variant = ("_random" if s.takeover == "random" else "") + (f"_{s.compat}" if s.compat else "")
    if s.calibration not in (None, "marginal", "per_question"):
        variant += f"_{s.calibration}"
    return Path("results") / f"{name}{_mode(settings, per_question)}{variant}{_score(settings)}{_replacing(settings)}"


def baseline_results(settings: BaselineSettings) -> Path:
    s = settings
    name = (
        f"{short(s.small_model_name)}_{dataset(s.dataset_name)}_sm{s.small_model_max_tokens}_t{s.turns}"
        f"_smt{s.small_model_temperature:g}_smc{s.small_model_concurrency}"
    )
    return Path("results") / name


def _score(settings: ConformalSettings | AsyncSettings) -> str:
    """Nothing for the published score."""
    return "" if settings.score == "mean" else f"_{settings.score}{settings.score_window or ''}"


def _replacing(settings: ConformalSettings | AsyncSettings) -> str:
    """Nothing for the published take-over."""
    if settings.on_rejection == "continue":
        return ""
    attempts = "" if settings.draft_attempts == 1 else f"_a{settings.draft_attempts}"
    return "_resample" + attempts + ("" if settings.score_answers else "_unscored_answers")


def _mode(settings: ConformalSettings | AsyncSettings, per_question: bool) -> str:
    """As published: _ct0 or _ct1 for one calibration set, _per_question for one a question (there
    without a template; with it this project adds _ct1)."""
    if per_question:
        return "_ct1_per_question" if settings.use_chat_template else "_per_question"
    return f"_ct{settings.use_chat_template:d}"
