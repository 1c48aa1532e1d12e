from __future__ import annotations

import math

import msgspec
import pytest
from builders import STEPS, make_block, make_case, make_closing, make_measurement, make_phases
from hypothesis import given
from hypothesis import strategies as st

from stepbench.judge.limits import (
    Efficiency,
    break_even,
    compilation,
    efficiency_of,
    energy,
    epoch_time,
    first_call,
    memory_by_phase,
)
from stepbench.judge.published_peaks import published_peaks
from stepbench.judge.statistics import Estimate, t_quantile
from stepbench.records.cases import EAGER, Device
from stepbench.records.run import Attainable, Measurement, Work

REFERENCE, CASE = make_case(EAGER), make_case("graph", "mixed_bfloat16")
CPU = Attainable(Device.CPU, {"float32": 200e9, "bfloat16": 400e9}, 20e9)
WORK = Work(flops=1e9, bytes=1e8, examples=6400)


def measured(*step_s: float, first_calls: tuple[float, ...] = (), of: Measurement | None = None) -> Measurement:
    """A replicate for each step time, each with its first call."""
    base = of or Measurement(CASE)
    made = make_measurement(base.case, *([STEPS * seconds] * 2 for seconds in step_s))
    calls = first_calls or (1.0,) * len(step_s)
    replicates = [
        msgspec.structs.replace(replicate, phases=make_phases(call))
        for replicate, call in zip(made.replicates, calls, strict=True)
    ]
    return msgspec.structs.replace(made, replicates=tuple(replicates), work=WORK)


def reference(*step_s: float, first_calls: tuple[float, ...] = ()) -> Measurement:
    return measured(*step_s, first_calls=first_calls, of=Measurement(REFERENCE))


def test_utilization_is_achieved_over_attainable_at_the_precision_of_the_case() -> None:
    # 1 GFLOP in 10 ms are 100 GFLOP/s, of 400 in bfloat16 and of 200 in float32.
    assert efficiency_of(measured(0.01), [CPU]).flops_utilization == pytest.approx(0.25)
    assert efficiency_of(reference(0.01), [CPU]).flops_utilization == pytest.approx(0.5)


def test_the_roof_is_the_memorys_or_the_peak_and_without_products_there_is_none() -> None:
    # 10 operations a byte, 20 GB/s.
    found = efficiency_of(measured(0.01), [CPU])
    assert found.arithmetic_intensity == pytest.approx(10)
    assert found.roofline_flops == pytest.approx(200e9)
    intense = msgspec.structs.replace(measured(0.01), work=Work(1e9, 1e6, 6400))
    assert efficiency_of(intense, [CPU]).roofline_flops == 400e9
    idle = msgspec.structs.replace(measured(0.01), work=Work(0.0, 0.0, 10))
    found = efficiency_of(idle, [CPU])
    assert (found.arithmetic_intensity, found.roofline_flops) == (None, None)
    assert found.flops_utilization == 0.0


def test_without_a_count_or_a_time_nothing_is_known() -> None:
    uncounted = msgspec.structs.replace(measured(0.01), work=None)
    assert efficiency_of(uncounted, [CPU]) == Efficiency()
    assert efficiency_of(Measurement(CASE, work=WORK), [CPU]) == Efficiency()


@pytest.mark.parametrize(
    "attainable",
    [(), (msgspec.structs.replace(CPU, device=Device.GPU),), (msgspec.structs.replace(CPU, flops={"float32": 1e9}),)],
    ids=["nothing measured", "another device", "another dtype"],
)
def test_without_its_peak_a_case_has_its_work_and_no_utilization(attainable: tuple[Attainable, ...]) -> None:
    found = efficiency_of(measured(0.01), attainable)
    assert (found.flops_per_step, found.bytes_per_step) == (1e9, 1e8)
    assert (found.flops_utilization, found.roofline_flops) == (None, None)


def test_an_epoch_is_as_many_steps_as_there_are_batches() -> None:
    epoch = epoch_time(measured(0.01, 0.01))
    assert epoch is not None
    assert epoch.value == pytest.approx(0.01 * 6400 / 64)


def test_the_first_call_and_its_compilation_are_medians() -> None:
    found = measured(0.1, 0.1, 0.1, first_calls=(1.0, 9.0, 2.0))
    compiled = msgspec.structs.replace(found.replicates[0].phases, compile_s=0.5)
    replicates = (msgspec.structs.replace(found.replicates[0], phases=compiled), *found.replicates[1:2])
    assert first_call(found) == 2.0
    assert compilation(msgspec.structs.replace(found, replicates=replicates)) == 0.25


def test_break_even_with_its_interval_by_hand() -> None:
    found = break_even(
        measured(0.010, 0.012, 0.011, first_calls=(3.0, 3.2, 3.1)),
        reference(0.020, 0.021, 0.0205, first_calls=(1.0, 1.0, 1.0)),
    )
    assert found is not None
    # Costs of 2.0, 2.2 and 2.1 s, savings of 10, 9 and 9.5 ms a step; each bound at 97.5 %, of three values.
    reach = t_quantile(0.9875, 2) / math.sqrt(3)
    most_saved = 0.0095 + reach * 0.0005
    assert found.value == pytest.approx(2.1 / 0.0095)
    assert found.low == pytest.approx((2.1 - reach * 0.1) / most_saved)
    assert found.high == pytest.approx((2.1 + reach * 0.1) / (0.0095 - reach * 0.0005))


@pytest.mark.parametrize("step_s", [0.020, 0.021, 0.5])
def test_a_case_that_is_not_faster_never_pays_back(step_s: float) -> None:
    assert break_even(measured(step_s, step_s), reference(0.020, 0.020)) is None


def test_a_first_call_that_costs_nothing_pays_back_at_once() -> None:
    found = break_even(measured(*[0.01] * 3, first_calls=(0.5,) * 3), reference(*[0.02] * 3))
    assert found == Estimate(0.0, 0.0, 0.0)


def test_one_replicate_breaks_even_without_an_interval() -> None:
    found = break_even(measured(0.01, first_calls=(3.0,)), reference(0.02))
    assert found is not None
    assert found.value == pytest.approx(200)
    assert (found.low, found.high) == (None, None)


@given(st.lists(st.tuples(*[st.floats(0.001, 1.0)] * 2, *[st.floats(0.01, 60.0)] * 2), min_size=1, max_size=6))
def test_an_interval_holds_its_value_whatever_was_measured(replicates: list[tuple[float, float, float, float]]) -> None:
    mine, theirs, my_calls, their_calls = zip(*replicates, strict=True)
    found = break_even(measured(*mine, first_calls=my_calls), reference(*theirs, first_calls=their_calls))
    if found is not None:
        assert found.low is None or 0 <= found.low <= found.value
        assert found.high is None or found.high >= found.value


def with_energy(*joules: float | None) -> Measurement:
    blocks = tuple(make_block(number, energy_j=value) for number, value in enumerate(joules))
    return make_measurement(CASE, [], blocks=blocks)


def test_energy_is_of_a_thousand_examples_of_blocks_whose_energy_is_known() -> None:
    # 3 J for two blocks of 10 steps of 64 examples.
    found = energy(with_energy(1.0, 2.0))
    assert found is not None
    assert found.value == pytest.approx(3.0 * 1000 / (2 * STEPS * 64))
    found = energy(with_energy(1.0, None))
    assert found is not None
    assert found.value == pytest.approx(1000 / (STEPS * 64))


@pytest.mark.parametrize("joules", [(), (None,), (0.0, 0.0)])
def test_energy_that_was_not_counted_is_unknown(joules: tuple[float | None, ...]) -> None:
    assert energy(with_energy(*joules)) is None


def test_memory_is_the_largest_of_each_phase() -> None:
    closings = (
        make_closing(peaks_bytes={"build": 5, "steps": 1}),
        None,
        make_closing(peaks_bytes={"build": 3, "steps": 9}),
    )
    made = make_measurement(CASE, [0.1], [0.1], [0.1])
    replicates = [
        msgspec.structs.replace(replicate, closing=closing)
        for replicate, closing in zip(made.replicates, closings, strict=True)
    ]
    assert memory_by_phase(replicates) == {"build": 5, "steps": 9}


@pytest.mark.parametrize(("rounded", "float32"), [(True, 156e12), (False, 19.5e12)])
def test_the_published_peak_in_float32_is_the_one_that_tensorflow_may_use(*, rounded: bool, float32: float) -> None:
    device = Attainable(Device.GPU, {}, 1.0, name="NVIDIA A100-SXM4-80GB", tensor_float_32=rounded)
    found = published_peaks(device)
    assert found is not None
    assert found.flops == {"float32": float32, "bfloat16": 312e12, "float16": 312e12}
    assert found.bandwidth == 2039e9


def test_a_gpu_that_does_not_know_a_dtype_has_no_published_peak_in_it() -> None:
    found = published_peaks(Attainable(Device.GPU, {}, 1.0, name="Tesla T4", tensor_float_32=True))
    assert found is not None
    assert found.flops == {"float32": 8.1e12, "float16": 65e12}


@pytest.mark.parametrize("name", [None, "NVIDIA A100", "Some other GPU"])
def test_what_is_not_in_the_table_has_no_published_peaks(name: str | None) -> None:
    assert published_peaks(Attainable(Device.GPU, {}, 1.0, name=name)) is None
