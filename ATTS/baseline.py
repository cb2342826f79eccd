"""Run one model alone, draft or target, on the same questions: the yardstick for accuracy and speed.

python -m ATTS.baseline --small_model_name demo-target --sglang_port 40001 --dataset_name demo
"""

from ATTS import console
from ATTS.runs.evaluate import evaluate_alone
from ATTS.runs.settings import BaselineSettings

if __name__ == "__main__":
    console.run(BaselineSettings, __doc__, evaluate_alone)
