"""Serve a draft and a target as one model over the OpenAI API.

python -m ATTS.serve --small_model_name demo-draft --eval_model_name demo-target --calibration online
"""

from ATTS import console
from ATTS.api.serve import serve
from ATTS.api.settings import ServeSettings

if __name__ == "__main__":
    console.run(ServeSettings, __doc__, serve)
