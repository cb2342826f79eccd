"""Run SpecReason: the draft writes steps, the target grades each and rewrites those below the threshold.

python -m ATTS.spec_reason --small_model_name demo-draft --eval_model_name demo-target --dataset_name demo
"""

from ATTS import console
from ATTS.baselines.flags import SpecReasonSettings
from ATTS.baselines.spec_reason.run import evaluate_spec_reason

if __name__ == "__main__":
    console.run(SpecReasonSettings, __doc__, evaluate_spec_reason)
