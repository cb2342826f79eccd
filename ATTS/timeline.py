"""Draw who did what when in a run: one row a sample, one colour a stage, light where it waited for a slot.

python -m ATTS.timeline --output_dir results/NAME --picture timeline.png
"""

from ATTS import console
from ATTS.analysis.timeline import TimelineSettings, draw

if __name__ == "__main__":
    console.run(TimelineSettings, __doc__, draw)
