"""The training loop against the published table: ten epochs from each of six seeds, on real CIFAR-10.

Run: STEPBENCH_DATA=... python bench/published_curve.py [SEED ...] (each seed takes two minutes on two cores)

It prints the table in docs/verify.md and stores every seed's curve where ``stepbench train`` takes its reference band
from.
Without arguments it prints the table of what is stored.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path

import msgspec

from stepbench.judge.reference_curve import CURVE_FILE, Curves, band, read_curves

STEPBENCH = str(Path(sys.executable).with_name("stepbench"))
EPOCH = re.compile(r"Epoch \d+, Loss: ([\d.]+), Accuracy: ([\d.]+)%")
TEST = re.compile(r"Test set .* Accuracy: ([\d.]+)%")


def train(seed: int) -> tuple[list[float], list[float], float]:
    """Loss and accuracy in percent of each epoch, and the test accuracy."""
    command = [STEPBENCH, "train", "--execution", "graph", "--precision", "float32", "--data", "cifar10"]
    text = subprocess.run([*command, "--seed", str(seed)], check=True, stdout=subprocess.PIPE, text=True).stdout
    test = TEST.search(text)
    assert test, text
    losses, accuracies = zip(*((float(loss), float(share)) for loss, share in EPOCH.findall(text)), strict=True)
    return list(losses), list(accuracies), float(test[1])


def print_table(curves: Curves) -> None:
    heads = ["epoch", "published", "our median", "off by", "our seeds", "band for a run"]
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{' --: |' * len(heads)}\n")
    published = zip(curves.published_losses, curves.published_accuracies, strict=True)
    for index, (loss, accuracy) in enumerate(published):
        losses = [of_seed[index] for of_seed in curves.losses.values()]
        accuracies = [of_seed[index] for of_seed in curves.accuracies.values()]
        median = statistics.median(losses)
        low, high = band(curves, index + 1)
        cells = [
            str(index + 1),
            f"{loss:.3f}, {accuracy:.2f} %",
            f"{median:.3f}, {statistics.median(accuracies):.2f} %",
            f"{100 * (median / loss - 1):+.1f} %",
            f"{min(losses):.3f} to {max(losses):.3f}",
            f"{low:.3f} to {high:.3f}",
        ]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    tests = ", ".join(f"{share:.2f} %" for share in curves.test_accuracies.values())
    sys.stdout.write(f"\nTest accuracy of seeds {', '.join(curves.losses)}: {tests}.\n")


def main() -> None:
    curves = read_curves()
    for seed in sys.argv[1:]:
        curves.losses[seed], curves.accuracies[seed], curves.test_accuracies[seed] = train(int(seed))
        CURVE_FILE.write_bytes(msgspec.json.format(msgspec.json.encode(curves), indent=1) + b"\n")
    print_table(curves)


if __name__ == "__main__":
    main()
