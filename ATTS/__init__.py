"""ATTS: asynchronous test-time scaling with a draft model, a target model and conformal rejection."""

import signal
import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # python -m ATTS.<command>, which imports for seconds before it can say anything
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until console.heed_interrupts
