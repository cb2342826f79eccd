"""Check everything that a run needs, from the installation to both servers, and say what to do.

python -m ATTS.doctor --dataset_name demo
"""

from ATTS import console
from ATTS.diagnosis.doctor import DoctorSettings, examine

if __name__ == "__main__":
    console.run(DoctorSettings, __doc__, examine)
