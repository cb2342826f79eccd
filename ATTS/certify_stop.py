"""Certify a threshold of --stop: how often a vote that stops is wrong where the vote of all samples is right.

python -m ATTS.certify_stop results/full_run --stop beta --max_loss 0.02 --confidence 0.9
"""

from ATTS import console
from ATTS.tuning.certify_stop import CertifyStopSettings, certify_stop

if __name__ == "__main__":
    console.run(CertifyStopSettings, __doc__, certify_stop)
