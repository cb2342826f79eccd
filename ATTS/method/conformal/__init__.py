"""The decision: a chunk's score against calibration scores. Each formula stands with its source.

Scores are perplexities under the target; higher is worse. :mod:`forms` holds the formulas,
:mod:`sets` what is calibrated beforehand, :mod:`online` what is learnt on the way.
"""

from ATTS.method.conformal.decision import Coin, Decision, RejectionRule
from ATTS.method.conformal.forms import Form, smallest_calibration_set
from ATTS.method.conformal.online import GAMMA, Online
from ATTS.method.conformal.sets import CalibrationSet, PerTurn, worth

__all__ = [
    "GAMMA",
    "CalibrationSet",
    "Coin",
    "Decision",
    "Form",
    "Online",
    "PerTurn",
    "RejectionRule",
    "smallest_calibration_set",
    "worth",
]
