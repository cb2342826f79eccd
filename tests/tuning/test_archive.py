"""What a search has tried, on the disk."""

from pathlib import Path

import pytest

from ATTS.tuning.archive import Archive, Trial
from ATTS.tuning.space import Setting


def test_a_trial_that_can_not_be_kept_names_the_archive(tmp_path: Path) -> None:
    """Of a write that fails, Python names no file."""
    archive = Archive(tmp_path / "archive", {})
    (tmp_path / "archive").unlink()
    (tmp_path / "archive").symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/archive'"):
        archive.add(Trial(Setting("r", 1, 1), 1.0, 0.5, 1.0))
