"""The command ``doctor``: what does this machine have, and lack, for good measurements?"""

from __future__ import annotations

from pathlib import Path

from stepbench.engine.doctor import look
from stepbench.judge.doctor import DoctorJudgement, judge_doctor
from stepbench.records.progress import Tell


def doctor(results: Path, tell: Tell) -> DoctorJudgement:
    """Look at this machine, and at the folder that is to hold runs, and judge what is found."""
    return judge_doctor(look(results, tell))
