"""The one kind of error that is for people."""

from enum import StrEnum


class UserError(Exception):
    """Something a person must put right. The message says what happened, to which file, server or
    sample, and what to do; front doors print it and exit with status 2."""


class ExitStatus(StrEnum):
    """How a sample ended. Every sample has exactly one."""

    ANSWERED = "answered"  # an answer stands in the chain
    TURN_LIMIT = "turn_limit"  # the turns ran out without an answer
    EMPTY_DRAFT = "empty_draft"  # the draft wrote nothing, and nobody had anything to add
    DRAFT_ENDED = "draft_ended"  # the draft ended the text without an answer; nobody had anything to add
    TARGET_ENDED = "target_ended"  # the target ended the text without an answer
    CONTEXT_FULL = "context_full"  # the chain no longer fits a model's context
    SCORE_FAILED = "score_failed"  # the target gave no usable log-probabilities for a chunk
    UNKNOWN_CHARACTER = "unknown_character"  # a model wrote a character that another one's tokens can't write
    SERVER_FAILED = "server_failed"  # a request failed for good
    CANCELLED = "cancelled"  # the run was stopped while the sample was under way
    STOPPED = "stopped"  # its question was decided by other samples before it ended, or before it began (--stop)
    # Of the baselines:
    BUDGET_SPENT = "token_budget"  # the tokens that a sample may have are used up, be there an answer or not
    REPEATED = "repeated"  # the last two steps are the same
    UNANSWERED = "unanswered"  # the method's own test says that it is finished, but there is no answer
    TIME_LIMIT = "time_limit"  # the seconds that a sample may have are used up


class SampleError(Exception):
    """Ends one sample, not the run. ``status`` says how the sample is recorded."""

    status = ExitStatus.SERVER_FAILED


class ScoreFailed(SampleError):
    """A chunk could not be scored; nothing stands in for its score."""

    status = ExitStatus.SCORE_FAILED


class ContextFull(SampleError):
    """The chain does not fit the model's context."""

    status = ExitStatus.CONTEXT_FULL


class UnknownCharacter(SampleError):
    """The tokenizer has no token for a character of the text."""

    status = ExitStatus.UNKNOWN_CHARACTER


class ServerFailed(SampleError):
    """A request failed for good; the sample is owed."""

    status = ExitStatus.SERVER_FAILED


class Refused(ServerFailed):
    """A server won't do what this sample asks for, however often: its chain is begun anew."""
