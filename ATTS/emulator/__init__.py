"""SGLang servers without models, for tests, benchmarks and capacity planning.

They speak SGLang's HTTP as measured on two releases (:mod:`release`, :mod:`requests`,
:mod:`replies`), say what a :mod:`content` makes them say, or a :mod:`recorded` run, take the time
that an :mod:`engine` with continuous batching would take, and fail by plan (:mod:`faults`).
"""

from ATTS.emulator.content import Ask, Content, RandomText, Scripted, Written
from ATTS.emulator.faults import Fault, Kind
from ATTS.emulator.recorded import Recorded
from ATTS.emulator.release import RELEASES, Release
from ATTS.emulator.server import Served, Server
from ATTS.emulator.timing import Timing

__all__ = [
    "RELEASES",
    "Ask",
    "Content",
    "Fault",
    "Kind",
    "RandomText",
    "Recorded",
    "Release",
    "Scripted",
    "Served",
    "Server",
    "Timing",
    "Written",
]
