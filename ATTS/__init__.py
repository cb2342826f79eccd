"""ATTS: asynchronous test-time scaling with a draft model, a target model and conformal rejection."""

import signal
import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # python -m ATTS.<command>, which imports for seconds before it can say anything
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until console.run takes over
