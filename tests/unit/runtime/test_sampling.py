"""Which requests are sampled: the SDK's own samplers say the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_runtime import errors
from leadline_runtime.telemetry import sampling
from opentelemetry import trace
from opentelemetry.sdk.trace import sampling as sdk
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADERS = st.one_of(
    st.builds(
        "00-{:032x}-{:016x}-{:02x}".format,
        st.integers(0, 2**128 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 255),
    ),
    st.text("0123456789abcdef-", max_size=60),
    st.sampled_from(
        [
            "ff-" + "1" * 32 + "-" + "2" * 16 + "-01",
            "01-" + "1" * 32 + "-" + "2" * 16 + "-01-more",
            "00-" + "1" * 32 + "-" + "2" * 16 + "-01-more",
            "00-" + "A" * 32 + "-" + "2" * 16 + "-01",
            " 00-" + "1" * 32 + "-" + "2" * 16 + "-01 ",
        ]
    ),
)


@given(HEADERS)
def test_a_header_is_a_parent_where_the_sdk_takes_it_for_one(header):
    found = trace.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": header.strip()}))
    assert bool(sampling.parent({b"traceparent": header.encode()})) == found.get_span_context().is_valid


@given(st.integers(1, 2**128 - 1), st.floats(0, 1))
def test_the_ratio_of_trace_ids_is_the_sdks(trace_id, ratio):
    decide = sampling.from_environment({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": repr(ratio)})
    expected = sdk.TraceIdRatioBased(ratio).should_sample(None, trace_id, "x").decision.is_sampled()
    assert decide(b"00-%032x-%016x-00" % (trace_id, 1)) == expected


@pytest.mark.parametrize(
    ("name", "none", "sampled", "not_sampled"),
    [
        ("", True, True, False),
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
        ("parentbased_traceidratio", True, True, False),
    ],
)
def test_each_standard_sampler_decides_as_the_standard_has_it(name, none, sampled, not_sampled):
    decide = sampling.from_environment({"OTEL_TRACES_SAMPLER": name})
    head = b"00-%032x-%016x-" % (1, 1)
    assert (decide(b""), decide(head + b"01"), decide(head + b"00")) == (none, sampled, not_sampled)


@pytest.mark.parametrize("argument", ["2", "-0.1", "half", "nan"])
def test_a_share_that_is_none_is_told(argument):
    with pytest.raises(errors.SettingsError, match="OTEL_TRACES_SAMPLER_ARG: expected a share from 0 to 1"):
        sampling.from_environment({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument})
