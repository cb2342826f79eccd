"""Run the three-stage loop with one calibration set a question (conditional).

python -m ATTS.ref_async_per_question --small_model_name demo-draft --eval_model_name demo-target --dataset_name demo
"""

from functools import partial

from ATTS import console
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings

if __name__ == "__main__":
    console.run(AsyncSettings, __doc__, partial(evaluate_async, per_question=True))
