"""Certify a setting for an accuracy: the cheapest that loses at most so much to the target, with a given confidence.

python -m ATTS.certify results/frontier --max_loss 0.02 --confidence 0.9
"""

from ATTS import console
from ATTS.tradeoff.certify import CertifySettings, certify

if __name__ == "__main__":
    console.run(CertifySettings, __doc__, certify)
