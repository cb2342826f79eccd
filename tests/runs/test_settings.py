"""Flags: the published names, one set of defaults, and no typo passes."""

import json
from pathlib import Path
from typing import Any

import pytest

from ATTS.analysis.audit_rate import AuditSettings
from ATTS.baselines.compare_methods import MethodsSettings
from ATTS.baselines.flags import (
    AsyncFixBudgetSettings,
    SpecReasonSettings,
    SpeculativeThinkingSettings,
    SyncFixBudgetSettings,
    ThinkingSettings,
)
from ATTS.errors import UserError
from ATTS.flags import make, parse
from ATTS.runs import names, rules
from ATTS.runs.budget_prediction import BudgetSettings
from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings
from ATTS.store import provenance

OTHERS = (
    *(AsyncFixBudgetSettings, SyncFixBudgetSettings, SpecReasonSettings, SpeculativeThinkingSettings),
    MethodsSettings,
)

PAIR = {
    "small_model_name": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
    "eval_model_name": "Qwen/QwQ-32B",
    "dataset_name": "math500",
}


def parsed(settings: type[Any], *words: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    required = [word for name, value in PAIR.items() for word in (f"--{name}", value)]
    if settings is BaselineSettings:
        required = required[:2] + required[4:]
    monkeypatch.setattr("sys.argv", ["prog", *required, *words])
    return parse(settings, "A test.")


def test_the_defaults_are_those_of_the_readme_for_every_front_door(monkeypatch: pytest.MonkeyPatch) -> None:
    run = parsed(AsyncSettings, monkeypatch=monkeypatch)
    array = parsed(ConformalSettings, monkeypatch=monkeypatch)
    alone = parsed(BaselineSettings, monkeypatch=monkeypatch)
    for one in (run, array):
        assert (one.draft.max_tokens, one.target.max_tokens, one.requests.max_retries) == (500, 500, 3)
        assert (one.draft.temperature, one.target.temperature, one.scoring.rejection_rate) == (0.8, 0.8, 0.4)
        assert (one.draft.url, one.target.url) == ("http://127.0.0.1:40000", "http://127.0.0.1:40001")
    assert (run.samples.repeats, run.samples.turns, run.limits.draft, run.limits.target) == (16, 15, 0, 0)
    assert (array.calibration.sample_size, array.limits.each) == (16, 16)
    assert (alone.samples, alone.draft.max_tokens, alone.draft.url) == (run.samples, 500, run.draft.url)


def test_the_two_commands_find_each_others_files_by_the_published_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for words, marginal, conditional in (
        ((), "_ct0", "_per_question"),
        (("--use_chat_template",), "_ct1", "_ct1_per_question"),
    ):
        run = parsed(AsyncSettings, *words, monkeypatch=monkeypatch)
        array = parsed(ConformalSettings, *words, monkeypatch=monkeypatch)
        for per_question, mode in ((False, marginal), (True, conditional)):
            expected = Path(f"evaluation/ppls_math500_qwq_32B_rllama_8B_s16_t500_temp0.8{mode}.npy")
            assert names.calibration_array(run, per_question) == expected
            assert names.calibration_array(array, per_question) == expected
            assert names.async_results(run, per_question) == Path(
                f"results/rllama_8B_qwq_32B_math500_sm500_em500_t15_smt0.8_sct0.8_emt0.8_smc0_emc0{mode}"
            )


@pytest.mark.parametrize(
    "words",
    [
        ("--repeat", "3"),
        ("--repeats", "0"),
        ("--repeats", "x"),
        ("--turns", "0"),
        ("--turns", "-1"),
        ("--small_model_temperature", "-0.1"),
        ("--eval_model_temperature", "-1"),
        ("--rejection_rate", "-0.1"),
        ("--rejection_rate", "1.5"),
        ("--rejection_rate", "nan"),
        ("--small_model_max_tokens", "0"),
        ("--evalator_max_tokens", "0"),
        ("--small_model_concurrency", "-1"),
        ("--eval_model_concurrency", "-1"),
        ("--samples_in_flight", "-1"),
        ("--schedule", "turn"),
        ("--max_retries", "-1"),
        ("--top_p", "0"),
        ("--max_problems", "-1"),
        ("--request_timeout", "0"),
        ("--calibration_split", "1"),
        ("--extract_mode", "guess"),
        ("--small_model_port", "70000"),
        ("--eval_model_port", "40000"),
        ("--eval_model_url", "localhost:40001"),
        ("surplus",),
    ],
)
def test_a_flag_that_does_not_exist_or_does_not_fit_exits_with_2_and_says_which(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(AsyncSettings, *words, monkeypatch=monkeypatch)
    assert caught.value.code == 2
    told = capsys.readouterr()
    name = words[0].lstrip("-")
    assert name in told.err + told.out or "are both at http://127.0.0.1:40000" in " ".join(told.err.split())


def test_the_published_limits_are_those_of_the_published_order_where_the_user_names_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for words in (("--schedule", "question"), ("--compat", "published")):
        run = parsed(AsyncSettings, *words, monkeypatch=monkeypatch)
        assert (run.limits.schedule, run.limits.draft, run.limits.target) == ("question", 16, 4)
        run = parsed(AsyncSettings, *words, "--eval_model_concurrency", "9", monkeypatch=monkeypatch)
        assert (run.limits.draft, run.limits.target) == (16, 9)


def test_a_calibration_without_samples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(ConformalSettings, "--sample_size", "0", monkeypatch=monkeypatch)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("kind", "flags", "message"),
    [
        (ConformalSettings, {"compat": "published", "turns": 3}, "--turns must be 1"),
        (ConformalSettings, {"compat": "published", "score": "sum"}, "--score mean"),
        (SpecReasonSettings, {"dataset_name": "math500", "aime_year": 2025}, "--aime_year 2025 is for"),
        (SpecReasonSettings, {"dataset_name": "aime24", "aime_year": 2025}, "--aime_year 2025 is for"),
        (BudgetSettings, {"rejection_rate": 0.3}, "leave --rejection_rate out"),
        (BudgetSettings, {"percentile_threshold": 1.1}, "--percentile_threshold"),
        (AuditSettings, {"p_value": "bounded"}, "--p_value is for another --calibration"),
        (AuditSettings, {"calibration": "marginal", "gamma": 0.1}, "--gamma is for"),
        (AuditSettings, {"calibration": "per_turn", "bank_window": 5}, "--bank_window is for"),
        (AuditSettings, {"calibration": "online", "p_value": "bounded"}, "smooths"),
    ],
)
def test_a_flag_that_another_would_make_meaningless_is_refused(
    kind: type[Any], flags: dict[str, Any], message: str
) -> None:
    required: dict[str, Any] = {"input_dir": Path()} if kind is AuditSettings else PAIR
    with pytest.raises(ValueError, match=message):
        make(kind, **{**required, **flags})


def test_the_end_points_of_the_rate_are_rates_and_a_threshold_may_be_one() -> None:
    for rate in (0.0, 1.0):
        assert make(AsyncSettings, **PAIR, rejection_rate=rate).scoring.rejection_rate == rate
        assert make(ConformalSettings, **PAIR, rejection_rate=rate).scoring.rejection_rate == rate
        assert make(BudgetSettings, **PAIR, percentile_threshold=rate).scoring.rejection_rate == 1 - rate
        AuditSettings(input_dir=Path(), rejection_rate=rate)
    assert make(SpecReasonSettings, **{**PAIR, "dataset_name": "aime"}, aime_year=2025).data.dataset_name == "aime25"


def told(settings: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Without those that the version before didn't have."""
    return {name: value for name, value in settings.items() if name in before["settings"]}


@pytest.mark.parametrize("before", json.loads(Path(__file__).with_name("settings_before.json").read_text()))
def test_settings_are_stored_as_the_version_before_did(before: dict[str, Any]) -> None:
    kinds = (AsyncSettings, BudgetSettings, ConformalSettings, BaselineSettings, ThinkingSettings, *OTHERS)
    (kind,) = (kind for kind in kinds if kind.__name__ == before["kind"])
    for given in (before["flags"], before["settings"]):  # a folder's settings make the same again
        made = make(kind, **given)
        assert told(provenance.resolved(made), before) == before["settings"]
        assert provenance.digest(told(provenance.decisive(made), before)) == before["digest"]


def test_flags_of_calibration_that_contradict_each_other_are_refused() -> None:
    for flags, message in (
        ({"budget": 3}, "part of them"),
        ({"calibration": "online", "p_value": "bounded"}, "smooths"),
        ({"budget_kind": "bound"}, "is for --budget"),
        ({"repeats": 4, "budget": 2, "budget_kind": "bound", "calibration": "adaptive"}, "contradicts"),
        ({"repeats": 4, "budget": 2, "budget_kind": "bound", "compat": "published"}, "not part of --compat"),
        ({"bank_window": 5}, "--bank_window is for"),
        ({"calibration": "marginal", "gamma": 0.1}, "--gamma is for"),
        ({"calibration": "adaptive", "gamma": 0}, "--gamma 0 is for"),
        ({"calibration": "online", "compat": "published"}, "--compat published"),
        ({"calibration": "online", "takeover": "random"}, "--takeover random"),
        ({"p_value": "bounded", "takeover": "random"}, "--takeover random"),
        ({"calibration": "online", "ppl_array_path": "missing.npy"}, "leave --ppl_array_path out"),
        ({"repeats": 16, "budget": 4, "rejection_rate": 0.3}, "leave --rejection_rate out"),
        ({"compat": "published", "score": "sum"}, "--score mean"),
        ({"compat": "published", "top_p": 0.9}, "--top_p"),
        ({"compat": "published", "scoring_concurrency": 3}, "--scoring_concurrency"),
    ):
        with pytest.raises(ValueError, match=message):
            make(AsyncSettings, **{**PAIR, "repeats": 3, **flags})
    assert make(AsyncSettings, **PAIR, repeats=16, budget=4).scoring.rejection_rate == 0.25
    with pytest.raises(UserError, match="is for ref_async"):
        rules.make(make(AsyncSettings, **PAIR, calibration="online"), True, [])
    with pytest.raises(ValueError, match="called --takeover_budget"):
        make(BudgetSettings, **PAIR, budget=2)
