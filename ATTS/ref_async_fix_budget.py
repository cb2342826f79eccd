"""Run the loop with random take-over: at every turn a fixed number of a question's samples, drawn beforehand.

python -m ATTS.ref_async_fix_budget --small_model_name demo-draft --eval_model_name demo-target --dataset_name demo
"""

from ATTS.runs import cli
from ATTS.runs.fixed_budget import evaluate_fixed_budget
from ATTS.runs.settings.baselines import AsyncFixBudgetSettings

if __name__ == "__main__":
    cli.run(AsyncFixBudgetSettings, __doc__, evaluate_fixed_budget)
