"""Which questions a command works on."""

from ATTS.console import say
from ATTS.errors import UserError
from ATTS.runs.flags import Run
from ATTS.runs.settings import ConformalSettings
from ATTS.tasks import datasets
from ATTS.tasks.datasets import Question


def to_evaluate(settings: Run) -> list[Question]:
    """The data set's questions, without those kept for calibration."""
    return _choose(settings, calibration=False)


def to_calibrate(settings: ConformalSettings, per_question: bool) -> list[Question]:
    """What to calibrate on: per question, the evaluated questions themselves; else the calibration
    split if there is one (demo always has one), else the evaluated questions, as published."""
    return _choose(settings, calibration=not per_question)


def _choose(settings: Run, calibration: bool) -> list[Question]:
    name, share, most = settings.dataset_name, settings.calibration_split, settings.max_problems
    if name == datasets.DEMO:
        if share:
            raise UserError("--calibration_split is not for demo: its calibration problems are always its own")
        split = "calibration" if calibration else "test"
        return datasets.load(name, max_problems=most, seed=settings.seed, demo_split=split)
    questions = datasets.load(name, settings.data_dir)
    if share:
        for numbers in datasets.duplicates(questions):
            say(f"questions {', '.join(map(str, numbers))} of {name} are the same; they stay on one side of the split")
        kept, others = datasets.split_for_calibration(questions, share, settings.seed)
        questions = kept if calibration else others
    return questions[:most] if most else questions
