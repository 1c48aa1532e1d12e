"""The results folder: runs, their journals, gates, calibrations and baselines, as files."""

from stepbench.records.store.baselines import baselines_of, read_baseline, save_baseline
from stepbench.records.store.briefs import Brief, Briefs, read_briefs
from stepbench.records.store.journal import Journal
from stepbench.records.store.names import (
    BASELINES_FOLDER,
    CALIBRATION_FILE,
    GATE_FILE,
    JOURNAL_FILE,
    LATEST,
    LOGS_FOLDER,
    RUN_FILE,
    TENSORBOARD_FOLDER,
    TUNED_FILE,
    session_of,
    slug,
)
from stepbench.records.store.runs import Run, Store

__all__ = [
    "BASELINES_FOLDER",
    "CALIBRATION_FILE",
    "GATE_FILE",
    "JOURNAL_FILE",
    "LATEST",
    "LOGS_FOLDER",
    "RUN_FILE",
    "TENSORBOARD_FOLDER",
    "TUNED_FILE",
    "Brief",
    "Briefs",
    "Journal",
    "Run",
    "Store",
    "baselines_of",
    "read_baseline",
    "read_briefs",
    "save_baseline",
    "session_of",
    "slug",
]
