from __future__ import annotations

import pytest
import tensorflow as tf

import stepbench
from stepbench.records.cases import Device
from stepbench.training.devices import device_kind, use_device, visible_devices

pytestmark = pytest.mark.tensorflow


class FakeTensorFlow:
    """Takes the place of TensorFlow's device configuration, which can be set only once in a process."""

    def __init__(self, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.present = {"CPU": ["cpu 0"], "GPU": [f"gpu {index}" for index in range(gpus)]}
        self.visible: list[tuple[object, str]] = []
        self.growing: list[tuple[str, bool]] = []
        monkeypatch.setattr(tf.config, "list_physical_devices", self.present.get)
        monkeypatch.setattr(
            tf.config, "set_visible_devices", lambda devices, kind: self.visible.append((devices, kind))
        )
        monkeypatch.setattr(
            tf.config.experimental, "set_memory_growth", lambda device, enable: self.growing.append((device, enable))
        )


def test_the_processor_is_always_visible() -> None:
    assert Device.CPU in visible_devices()


@pytest.mark.parametrize(("gpus", "kinds"), [(0, (Device.CPU,)), (2, (Device.CPU, Device.GPU))])
def test_visible_devices_are_kinds(gpus: int, kinds: tuple[Device, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTensorFlow(gpus, monkeypatch)
    assert visible_devices() == kinds


@pytest.mark.parametrize("gpus", [0, 2])
def test_every_gpu_is_hidden_from_a_case_on_the_processor(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorFlow(gpus, monkeypatch)
    use_device(Device.CPU)
    assert fake.visible == [([], "GPU")]
    assert not fake.growing


def test_only_the_first_gpu_is_used_and_takes_memory_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorFlow(2, monkeypatch)
    use_device(Device.GPU)
    assert fake.visible == [("gpu 0", "GPU")]
    assert fake.growing == [("gpu 0", True)]


def test_gpu_that_is_absent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorFlow(0, monkeypatch)
    with pytest.raises(stepbench.StepbenchError) as caught:
        use_device(Device.GPU)
    assert str(caught.value) == (
        "TensorFlow sees no GPU here: use --device cpu, or install the extra 'stepbench[gpu]'."
    )
    assert not fake.visible


def test_the_processor_can_be_chosen_again_once_tensorflow_has_started() -> None:
    use_device(Device.CPU)
    tensor = tf.ones(2) + 1
    use_device(Device.CPU)
    assert device_kind(tensor.device) == "cpu"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("/job:localhost/replica:0/task:0/device:GPU:0", "gpu"), ("/device:CPU:0", "cpu"), ("CPU:0", "cpu")],
)
def test_kind_is_read_from_a_device_name(name: str, kind: str) -> None:
    assert device_kind(name) == kind
