"""Run the loop with a barrier: at every turn the worst samples of a question go to the target, a fixed number.

python -m ATTS.ref_sync_fix_budget --small_model_name demo-draft --eval_model_name demo-target --dataset_name demo
"""

from ATTS import console
from ATTS.baselines.fixed_budget.run import evaluate_fixed_budget
from ATTS.baselines.flags import SyncFixBudgetSettings

if __name__ == "__main__":
    console.run(SyncFixBudgetSettings, __doc__, evaluate_fixed_budget)
