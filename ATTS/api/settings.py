"""Flags of the server, and the table of reasoning efforts."""

import re
from dataclasses import dataclass, replace
from typing import Annotated

from ATTS.flags import Part, Positive, Range, require
from ATTS.method.prompts import SYSTEM
from ATTS.runs import addresses, parts
from ATTS.runs.settings import AsyncSettings, PairAnswers, Rule

EFFORTS = ("low:turns=8", "medium:", "high:samples=4")
CERTIFIED_EFFORTS = ("low:", "medium:", "high:samples=4")  # a certificate is for its own turns
MOST_SAMPLES = 256  # of a request, those of all its choices together


@dataclass(frozen=True, slots=True)
class Effort:
    """What a reasoning_effort stands for; None: as without one."""

    rate: float | None = None
    turns: int | None = None
    samples: int | None = None


class Length(Part):
    """How long an answer may become."""

    turns: Positive[int] = 15
    """Most turns of a sample; its text has at most the tokens that so many turns may bring, or max_tokens of the
    request if that is less."""


class Http(Part):
    """Where the server listens, and whom it answers."""

    host: str = addresses.HOST
    """Address to listen on. Others than this machine's need --api_key_env."""

    port: Annotated[int, Range(0, 65535)] = 8400
    """Port to listen on; 0: a free one."""

    api_key_env: str | None = None
    """Environment variable with the key that requests to /v1 must carry as a bearer token; default: no key."""

    served_model_name: str = "atts"
    """What clients call the pair."""

    default_system_message: str = SYSTEM
    """System message of the draft in conversations without one, as in calibration; "" = none."""

    efforts: tuple[str, ...] = ()
    """What a reasoning_effort stands for, NAME:rate=R,turns=T,samples=K, each of the three or none; default:
    low:turns=8 medium: high:samples=4 (with --certificate low leaves the turns). A request's own samples win."""

    max_queue: Positive[int] = 1024
    """Most samples waiting for their turn; a request beyond is refused with status 429."""

    grace_seconds: Annotated[float, Range(0)] = 30.0
    """Seconds that requests under way have to finish when the server is stopped."""


class ServeSettings(Part):
    """Flags of serve."""

    draft: parts.Draft
    target: parts.Target
    scoring: parts.Scoring = parts.Scoring()
    rule: Rule = Rule()
    answers: PairAnswers = PairAnswers()
    length: Length = Length()
    requests: parts.Requests = parts.Requests()
    limits: parts.LoopLimits = parts.LoopLimits()
    output: parts.Output = parts.Output()
    http: Http = Http()

    def __post_init__(self) -> None:
        super().__post_init__()
        kind, scoring = self.rule.calibration or "marginal", self.scoring
        require(scoring.compat is None, "--compat published runs data sets only")
        require(kind not in ("per_question", "grouped"), f"--calibration {kind} is for data sets")
        require(self.rule.budget is None, "--budget is for data sets: give the --rejection_rate")
        require(self.answers.extract_mode != "llm", "--extract_mode llm is for data sets")
        require(self.limits.schedule == "queue", "--schedule question is for data sets")
        free = kind in ("online", "adaptive") or self.rule.takeover == "random"
        require(
            free or scoring.ppl_array_path is not None or self.rule.certificate is not None,
            "give --ppl_array_path or --certificate, or use --calibration online or adaptive, which need neither",
        )
        efforts = self.efforts
        if self.rule.certificate is not None:
            own = [name for name, effort in efforts.items() if effort.rate is not None or effort.turns is not None]
            require(not own, f"--efforts {', '.join(own)}: a certificate is for its own rate and turns")
        _ = self.run  # raises for what no run may be

    @property
    def efforts(self) -> dict[str, Effort]:
        """By name. Raises ValueError."""
        given = self.http.efforts or (EFFORTS if self.rule.certificate is None else CERTIFIED_EFFORTS)
        return dict(map(effort, given))

    @property
    def run(self) -> AsyncSettings:
        """The same settings as those of a run, which has a data set besides: one that nothing here depends on."""
        return AsyncSettings(
            draft=self.draft,
            target=self.target,
            data=parts.Data(dataset_name="demo"),
            scoring=self.scoring,
            rule=self.rule,
            answers=self.answers,
            samples=parts.Chains(turns=self.length.turns),
            requests=self.requests,
            limits=self.limits,
            output=parts.Results(force=self.output.force),
        )


def effort(text: str) -> tuple[str, Effort]:
    """``NAME:rate=R,turns=T,samples=K``. Raises ValueError."""
    name, colon, rest = text.partition(":")
    values = dict(re.findall(r"(rate|turns|samples)=([\d.]+)(?:,|$)", rest))
    whole = ",".join(f"{key}={value}" for key, value in values.items())
    require(bool(name and colon) and whole == rest, f"--efforts {text!r} must be like high:rate=0.6,turns=20,samples=4")
    try:
        found = Effort(
            rate=float(values["rate"]) if "rate" in values else None,
            turns=int(values["turns"]) if "turns" in values else None,
            samples=int(values["samples"]) if "samples" in values else None,
        )
    except ValueError:
        raise ValueError(f"--efforts {text!r}: turns and samples are whole numbers, a rate is one") from None
    require(found.rate is None or 0 <= found.rate <= 1, f"--efforts {text!r}: a rate lies in [0, 1]")
    require(found.turns is None or found.turns >= 1, f"--efforts {text!r}: at least one turn is needed")
    require(
        found.samples is None or 1 <= found.samples <= MOST_SAMPLES,
        f"--efforts {text!r}: samples must lie in [1, {MOST_SAMPLES}]",
    )
    return name, found


def at(run: AsyncSettings, rate: float, turns: int) -> AsyncSettings:
    """A run's settings with another rate and other turns."""
    return replace(run, scoring=replace(run.scoring, rejection_rate=rate), samples=replace(run.samples, turns=turns))
