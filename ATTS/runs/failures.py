"""What becomes of a run whose samples fail."""

from collections import Counter, deque

from ATTS.errors import ExitStatus, UserError
from ATTS.flags import Incidental, Part, Positive, Share

AT_SERVERS = (ExitStatus.SERVER_FAILED, ExitStatus.SCORE_FAILED)
BY_THEMSELVES = (ExitStatus.CONTEXT_FULL, ExitStatus.UNKNOWN_CHARACTER)


class Failures(Part):
    """What becomes of a run whose samples fail."""

    strict: Incidental[bool] = False
    """Exit with an error if any sample failed, also of those that fail again (context_full, unknown_character)."""

    max_error_rate: Share[Incidental[float]] = 0.5
    """Stop when more than this share of the last --error_window samples failed at the servers; 1 = never."""

    error_window: Positive[Incidental[int]] = 50
    """Samples that --max_error_rate looks at."""

    def check(self, by_status: dict[str, int]) -> None:
        """Of a run whose samples have all ended. Raises UserError."""
        failed = {status.value: by_status[status.value] for status in BY_THEMSELVES if by_status.get(status.value)}
        if self.strict and failed:
            told = ", ".join(f"{count} {status}" for status, count in failed.items())
            raise UserError(f"--strict: {told}; their files tell why (docs/method.md)")


class RecentFailures:
    """The newest samples of a run."""

    def __init__(self, settings: Failures) -> None:
        self._settings = settings
        self._failed: deque[bool] = deque(maxlen=settings.error_window)
        self._reasons: Counter[str] = Counter()

    def add(self, status: ExitStatus, reason: str | None) -> None:
        """One that ended, but for those that were cancelled or left out. Raises UserError when too many have failed."""
        if status in (ExitStatus.CANCELLED, ExitStatus.STOPPED):
            return
        s, failed = self._settings, status in AT_SERVERS
        self._failed.append(failed)
        if failed:
            self._reasons[reason or status.value] += 1
        count = sum(self._failed)
        if failed and len(self._failed) == s.error_window and count > s.max_error_rate * s.error_window:
            (most, _), *_ = self._reasons.most_common(1)
            raise UserError(
                f"{count} of the last {s.error_window} samples failed at the servers, most often: {most}. The run stops"
                " (--max_error_rate); see to the servers and rerun the same command to resume"
            )
