r"""Run the loop with a budget of take-overs and one calibration set (marginal); tell whether the budget was met.

python -m ATTS.ref_async_budget_prediction --small_model_name demo-draft --eval_model_name demo-target \
    --dataset_name demo --takeover_budget 4
"""

from functools import partial

from ATTS import console
from ATTS.runs.budget_prediction import BudgetSettings, predict

if __name__ == "__main__":
    console.run(BudgetSettings, __doc__, partial(predict, per_question=False))
