"""Which devices TensorFlow sees, and how it is told to use just one."""

from __future__ import annotations

import tensorflow as tf

from stepbench.errors import StepbenchError
from stepbench.records.cases import Device


def visible_devices() -> tuple[Device, ...]:
    """The kinds of device that TensorFlow can use here."""
    return tuple(device for device in Device if tf.config.list_physical_devices(device.upper()))


def use_device(device: Device) -> None:
    """Hide every accelerator but the one asked for, and let its memory grow as needed.

    To be called before TensorFlow touches a device.

    Raises:
        StepbenchError: when TensorFlow sees no such device.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device is Device.CPU:
        tf.config.set_visible_devices([], "GPU")
        return
    if not gpus:
        raise StepbenchError("TensorFlow sees no GPU here: use --device cpu, or install the extra 'stepbench[gpu]'.")
    tf.config.set_visible_devices(gpus[0], "GPU")
    tf.config.experimental.set_memory_growth(gpus[0], enable=True)


def device_kind(name: str) -> str:
    """``/job:localhost/.../device:GPU:0`` → ``gpu``."""
    return str(tf.DeviceSpec.from_string(name).device_type).lower()
