r"""Score first chunks and save a calibration array with one row a question (conditional).

python -m ATTS.ref_conformal_per_question --small_model_name demo-draft --eval_model_name demo-target \
    --dataset_name demo
"""

from functools import partial

from ATTS import console
from ATTS.calibration.calibrate import calibrate
from ATTS.runs.settings import ConformalSettings

if __name__ == "__main__":
    console.run(ConformalSettings, __doc__, partial(calibrate, per_question=True))
