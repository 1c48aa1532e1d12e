from __future__ import annotations

from pathlib import Path

import pytest
from doctored import changed

from stepbench.engine.doctor import ask_tensorflow
from stepbench.judge.doctor_tensorflow import start
from stepbench.judge.finding import Severity
from stepbench.worker.doctor import count_threads, missing_libraries

pytestmark = pytest.mark.tensorflow

# What TensorFlow 2.21 logs with a driver, but without CUDA's libraries.
LOG = """\
I0000 00:00:1.1 8735 dso_loader.cc:133] Successfully opened dynamic library libcuda.so.1
I0000 00:00:1.2 8735 gpu_device.cc:2334] Found device 0 with properties:
I0000 00:00:1.3 8735 dso_loader.cc:144] Could not load dynamic library 'libcudart.so.12'; dlerror: libcudart.so.12: \
cannot open shared object file: No such file or directory; LD_LIBRARY_PATH: /opt/cuda
I0000 00:00:1.4 8735 dso_loader.cc:144] Could not load dynamic library 'libcudnn.so.9'; dlerror: libcudnn.so.9: \
cannot open shared object file: No such file or directory
I0000 00:00:1.5 8735 dso_loader.cc:144] Could not load dynamic library 'libcudart.so.12'; dlerror: again
W0000 00:00:1.6 8735 gpu_device.cc:2365] Cannot dlopen some GPU libraries. Please make sure the missing libraries ...
"""


def test_the_missing_libraries_are_named_once_in_the_order_of_asking() -> None:
    assert missing_libraries(LOG) == ("libcudart.so.12", "libcudnn.so.9")
    assert missing_libraries("Successfully opened dynamic library libcuda.so.1") == ()


def test_threads_are_counted_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(("tf_Compute", "python", "tf_Compute", "")):
        (tmp_path / str(number)).mkdir()
        if name:
            (tmp_path / str(number) / "comm").write_text(f"{name}\n")
    assert count_threads("tf_Compute", tmp_path) == 2
    assert count_threads("tf_renamed", tmp_path) is None


def test_flags_that_tensorflow_refuses_are_told_so_that_a_diagnosis_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag")
    facts, failure = ask_tensorflow()
    found = changed(
        tensorflow=facts, tensorflow_failure=failure, environment__variables={"XLA_FLAGS": "--xla_no_such_flag"}
    )
    (finding,) = start(found)
    assert finding.severity is Severity.SPOILS
    assert finding.what == "TensorFlow ends at once over XLA_FLAGS=--xla_no_such_flag"
