r"""Run the loop with a budget of take-overs and one calibration set (marginal); tell whether the budget was met.

python -m ATTS.ref_async_budget_prediction --small_model_name demo-draft --eval_model_name demo-target \
    --dataset_name demo --takeover_budget 4
"""

from functools import partial

from ATTS.runs import cli
from ATTS.runs.budget import BudgetSettings, predict

if __name__ == "__main__":
    cli.run(BudgetSettings, __doc__, partial(predict, per_question=False))
