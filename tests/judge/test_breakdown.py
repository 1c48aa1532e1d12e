from __future__ import annotations

import pytest
from builders import make_case, make_operation, make_trace
from hypothesis import given
from hypothesis import strategies as st

from stepbench.judge.breakdown import Category, base_kind, break_down, category_of
from stepbench.records.cases import EAGER
from stepbench.records.trace import GAP, HOST, PARTS, Operation

KINDS = {
    Category.HOST: (HOST, "SyncDevice"),
    Category.GAP: (GAP,),
    Category.INPUT: ("IteratorGetNext", "IteratorGetNextSync", "BatchDatasetV2", "PrefetchDataset"),
    Category.PYTHON_CALLBACK: ("PyFunc", "EagerPyFunc", "PyFuncStateless"),
    Category.COLLECTIVE: ("CollectiveReduceV2", "NcclAllReduce", "all-reduce", "all-gather", "reduce-scatter"),
    Category.CONVOLUTION: (
        *("Conv2D", "Conv3D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "Conv3DBackpropInputV2", "Conv"),
        *("_FusedConv2D", "_MklConv2D", "_MklNativeFusedConv2D", "_MklNativeConv2DBackpropFilterWithBias"),
        *("DepthwiseConv2dNative", "DepthwiseConv2dNativeBackpropFilter", "_MklNativeFusedDepthwiseConv2dNative"),
        *("convolution", "conv"),
    ),
    Category.MATRIX_PRODUCT: (
        *("MatMul", "_MklMatMul", "_FusedMatMul", "_MklNativeFusedMatMul", "BatchMatMulV2", "_MklFusedBatchMatMulV2"),
        *("Einsum", "CudnnRNN", "CudnnRNNBackprop", "dot"),
    ),
    Category.POOLING: (
        *("MaxPool", "MaxPoolGrad", "_MklNativeMaxPoolGrad", "AvgPool", "AvgPoolGrad", "AvgPool3D", "MaxPoolGradGrad"),
        *("FractionalMaxPool", "reduce-window", "select-and-scatter"),
    ),
    Category.CAST_AND_COPY: (
        *("Cast", "_MklCast", "Identity", "IdentityN", "Reshape", "Transpose", "DeepCopy", "MemcpyH2D", "MEMCPYD2H"),
        *("copy", "copy-start", "convert", "convert_element_type", "transpose"),
    ),
    Category.OPTIMIZER: ("ResourceApplyAdam", "ResourceApplyGradientDescent", "ResourceSparseApplyAdagrad"),
    Category.ELEMENT_WISE: (
        *("AddV2", "Mul", "Relu", "ReluGrad", "BiasAddGrad", "FusedBatchNormV3", "_MklNativeFusedBatchNormGradV3"),
        *("Sum", "ReadVariableOp", "AssignAddVariableOp", "ConcatV2", "Conj", "Softmax", "_EagerConst"),
        *("fusion", "add", "reduce", "concatenate", "conditional", "constant", "dynamic-slice"),
    ),
}
OF_KIND = [(kind, category) for category, kinds in KINDS.items() for kind in kinds]


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("Conv2D", "Conv2D"),
        ("_MklNativeFusedConv2D", "Conv2D"),
        ("_MklNativeConv2DBackpropFilterWithBias", "Conv2DBackpropFilterWithBias"),
        ("_MklMatMul", "MatMul"),
        ("_FusedMatMul", "MatMul"),
        ("FusedBatchNormV3", "BatchNormV3"),
        ("select-and-scatter", "select-and-scatter"),
        (HOST, HOST),
    ],
)
def test_a_base_kind_lacks_what_rewriting_put_before_it(kind: str, base: str) -> None:
    assert base_kind(kind) == base


def test_each_type_of_operation_has_its_category() -> None:
    assert set(KINDS) == set(Category)
    assert [(kind, category_of(make_operation(kind, 1.0, "forward"))) for kind, _ in OF_KIND] == OF_KIND


@pytest.mark.parametrize("kind", ["Mul", "Sqrt", "AssignSubVariableOp", "fusion"])
def test_element_wise_work_in_the_update_is_the_optimizers(kind: str) -> None:
    assert category_of(make_operation(kind, 1.0, "update")) is Category.OPTIMIZER
    assert category_of(make_operation(kind, 1.0)) is Category.ELEMENT_WISE


@pytest.mark.parametrize("kind", ["MatMul", "Cast", HOST, GAP])
def test_other_work_in_the_update_keeps_its_category(kind: str) -> None:
    assert category_of(make_operation(kind, 1.0, "update")) is category_of(make_operation(kind, 1.0))


def test_operations_of_a_part_and_category_are_one_group() -> None:
    trace = make_trace(
        make_case(),
        make_operation("Conv2D", 1.0, "forward", name="one"),
        make_operation("_MklNativeFusedConv2D", 2.0, "forward", name="two"),
        make_operation("Conv2D", 4.0, "forward", name="three", calls=3.0),
        make_operation("Conv2D", 8.0, "backward"),
        make_operation("Cast", 0.5, "forward"),
    )
    breakdown = break_down(trace)
    assert [(portion.part, portion.category, portion.seconds, portion.calls) for portion in breakdown.portions] == [
        ("backward", Category.CONVOLUTION, 8.0, 1.0),
        ("forward", Category.CONVOLUTION, 7.0, 5.0),
        ("forward", Category.CAST_AND_COPY, 0.5, 1.0),
    ]
    assert breakdown.portions[1].kinds == {"Conv2D": 5.0, "_MklNativeFusedConv2D": 2.0}
    assert breakdown.calls == 7.0
    assert breakdown.share(Category.CONVOLUTION) == pytest.approx(15 / 15.5)
    assert breakdown.share(Category.INPUT) == 0.0


def test_a_trace_is_scaled_to_what_was_measured_without_the_profiler() -> None:
    operations = (make_operation("Conv2D", 0.03, "forward"), make_operation(HOST, 0.01))
    trace = make_trace(make_case(EAGER), *operations, untraced_step_s=0.02)
    for step_s, expected in ((0.008, 0.008), (None, 0.02)):
        breakdown = break_down(trace, step_s)
        assert breakdown.step_s == expected
        assert (breakdown.traced_step_s, breakdown.overhead) == pytest.approx((0.04, 2.0))
        assert breakdown.by_category() == pytest.approx(
            {Category.CONVOLUTION: 0.75 * expected, Category.HOST: 0.25 * expected}
        )


def test_parts_come_in_the_order_of_the_step_and_categories_longest_first() -> None:
    trace = make_trace(
        make_case(),
        make_operation("Mul", 1.0, "update"),
        make_operation("Conv2D", 3.0, "backward"),
        make_operation(GAP, 2.0),
    )
    assert list(break_down(trace).by_part().items()) == [
        *(("forward", 0.0), ("loss", 0.0), ("backward", 3.0), ("update", 1.0), ("metrics", 0.0), ("", 2.0))
    ]
    assert list(break_down(trace).by_category()) == [Category.CONVOLUTION, Category.GAP, Category.OPTIMIZER]


operations = st.builds(
    Operation,
    part=st.sampled_from((*PARTS, "")),
    name=st.text(max_size=5),
    kind=st.sampled_from([kind for kind, _ in OF_KIND]),
    calls=st.floats(0, 1e3),
    seconds=st.floats(1e-9, 10),
)


@given(st.lists(operations, min_size=1, max_size=20), st.floats(0.5, 2), st.none() | st.floats(1e-6, 10))
def test_parts_and_categories_both_add_up_to_the_measured_step(
    ran: list[Operation], overhead: float, measured_s: float | None
) -> None:
    trace = make_trace(make_case(), *ran)
    untraced_s = trace.step_s / overhead
    breakdown = break_down(make_trace(make_case(), *ran, untraced_step_s=untraced_s), measured_s)
    expected = untraced_s if measured_s is None else measured_s
    for sums in (breakdown.by_part(), breakdown.by_category()):
        assert sum(sums.values()) == pytest.approx(expected)
    for portion in breakdown.portions:
        assert sum(portion.kinds.values()) == pytest.approx(portion.seconds)
    assert breakdown.calls == pytest.approx(sum(operation.calls for operation in ran))
