"""What files and folders of a results folder are called."""

from __future__ import annotations

import hashlib
import re

RUN_FILE = "run.json"
GATE_FILE = "gate.json"
TUNED_FILE = "tuned.json"
CALIBRATION_FILE = "calibration.json"
JOURNAL_FILE = "journal.jsonl"
INDEX_FILE = ".briefs.msgpack"
LATEST = "latest"
BASELINES_FOLDER = "baselines"
LOGS_FOLDER = "logs"
TENSORBOARD_FOLDER = "tensorboard"


def session_of(case_id: str) -> str:
    """The folder of a case's trace within its run's, where TensorBoard looks for it."""
    return f"{TENSORBOARD_FOLDER}/plugins/profile/{slug(case_id)}"


def slug(text: str) -> str:
    """A file name for ``text``: readable, and distinct for distinct texts."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", text.replace("/", "--")).strip(".-")[:80]
    if readable and readable.replace("--", "/") == text:
        return readable
    return f"{readable}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
