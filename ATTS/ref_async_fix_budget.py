"""Run the loop with random take-over: at every turn a fixed number of a question's samples, drawn beforehand.

python -m ATTS.ref_async_fix_budget --small_model_name demo-draft --eval_model_name demo-target --dataset_name demo
"""

from ATTS import console
from ATTS.baselines.fixed_budget.run import evaluate_fixed_budget
from ATTS.baselines.flags import AsyncFixBudgetSettings

if __name__ == "__main__":
    console.run(AsyncFixBudgetSettings, __doc__, evaluate_fixed_budget)
