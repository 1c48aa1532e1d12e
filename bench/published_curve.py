"""The training loop against the published table: ten epochs from each of three seeds, on real CIFAR-10.

Run: STEPBENCH_DATA=... python bench/published_curve.py (about six minutes on two cores; prints the README's table)
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path

PUBLISHED = (
    (1.617, 41.04),
    (1.233, 56.10),
    (1.081, 62.06),
    (0.983, 65.49),
    (0.908, 68.05),
    (0.846, 70.39),
    (0.796, 71.96),
    (0.752, 73.62),
    (0.714, 74.94),
    (0.678, 76.44),
)
SEEDS = (0, 1, 2)
STEPBENCH = str(Path(sys.executable).with_name("stepbench"))
EPOCH = re.compile(r"Epoch \d+, Loss: ([\d.]+), Accuracy: ([\d.]+)%")
TEST = re.compile(r"Test set .* Accuracy: ([\d.]+)%")


def train(seed: int) -> tuple[list[tuple[float, float]], float]:
    """Loss and accuracy of each epoch, and the test accuracy, in percent."""
    command = [STEPBENCH, "train", "--execution", "graph", "--precision", "float32", "--data", "cifar10"]
    text = subprocess.run([*command, "--seed", str(seed)], check=True, stdout=subprocess.PIPE, text=True).stdout
    test = TEST.search(text)
    assert test, text
    return [(float(loss), float(accuracy)) for loss, accuracy in EPOCH.findall(text)], float(test[1])


def main() -> None:
    runs = [train(seed) for seed in SEEDS]
    heads = ["epoch", "published", "median", "off by", *(f"seed {seed}" for seed in SEEDS)]
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{' --: |' * len(heads)}\n")
    for index, (loss, accuracy) in enumerate(PUBLISHED):
        epochs = [epochs[index] for epochs, _ in runs]
        median = statistics.median(mine for mine, _ in epochs)
        cells = [
            str(index + 1),
            f"{loss:.3f}, {accuracy:.2f} %",
            f"{median:.3f}",
            f"{100 * (median / loss - 1):+.1f} %",
            *(f"{mine:.3f}, {share:.2f} %" for mine, share in epochs),
        ]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.write(f"\nTest accuracy: {', '.join(f'{test:.2f} %' for _, test in runs)}\n")


if __name__ == "__main__":
    main()
