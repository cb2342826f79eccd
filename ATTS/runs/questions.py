"""Which questions a command works on."""

from ATTS.console import say
from ATTS.errors import UserError
from ATTS.runs.parts import Data
from ATTS.tasks import datasets
from ATTS.tasks.datasets import Question


def to_evaluate(data: Data) -> list[Question]:
    """The data set's questions, without those kept for calibration."""
    return _choose(data, calibration=False)


def to_calibrate(data: Data, per_question: bool) -> list[Question]:
    """What to calibrate on: per question, the evaluated questions themselves; else the calibration
    split if there is one (demo always has one), else the evaluated questions, as published."""
    return _choose(data, calibration=not per_question)


def _choose(data: Data, calibration: bool) -> list[Question]:
    name, share, most = data.dataset_name, data.calibration_split, data.max_problems
    if name == datasets.DEMO:
        if share:
            raise UserError("--calibration_split is not for demo: its calibration problems are always its own")
        split = "calibration" if calibration else "test"
        return datasets.load(name, max_problems=most, seed=data.seed, demo_split=split)
    questions = datasets.load(name, data.data_dir)
    if share:
        for numbers in datasets.duplicates(questions):
            say(f"questions {', '.join(map(str, numbers))} of {name} are the same; they stay on one side of the split")
        kept, others = datasets.split_for_calibration(questions, share, data.seed)
        questions = kept if calibration else others
    return questions[:most] if most else questions
