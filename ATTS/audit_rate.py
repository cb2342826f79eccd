"""Audit the rejection rate of a finished run: overall, by turn and by question, with intervals.

python -m ATTS.audit_rate --input_dir results/... [--calibration per_turn] [--json]
"""

from ATTS import console
from ATTS.analysis.audit_rate import AuditSettings, audited

if __name__ == "__main__":
    console.run(AuditSettings, __doc__, audited)
