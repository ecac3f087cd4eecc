"""What random specs look like; one place for every property test."""

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]


def decimals(*, above: int, most: int) -> st.SearchStrategy[str]:
    """Decimals as strings: from above `above` to `most` ten-thousandths."""
    return st.integers(above + 1, most).map(lambda part: f"{part / 10_000:.4f}")


durations = st.one_of(
    st.integers(1, 3_650).map(lambda days: f"{days}d"),
    st.tuples(st.integers(0, 99), st.integers(1, 59)).map(lambda parts: f"{parts[0]}h{parts[1]}m"),
    st.integers(1, 999).map(lambda seconds: f"{seconds} seconds"),
)
digests = st.integers(0, 2**256 - 1).map(lambda number: f"sha256:{number:064x}")
uris = st.one_of(
    st.from_regex(r"(file|https?)://[!-~]{1,80}", fullmatch=True),
    st.from_regex(r"(s3|gs|az)://[a-z]{3,9}/[!-~]{1,80}", fullmatch=True),
    st.from_regex(r"hf://[a-z]{1,9}/[a-z]{1,9}(@v[0-9])?/[a-z/]{0,20}", fullmatch=True),
)
model_uris = st.one_of(
    uris,
    st.from_regex(r"pvc://[a-z]{1,9}/[a-z/]{1,20}", fullmatch=True).filter(lambda uri: "//" not in uri[6:]),
    st.from_regex(r"oci://[a-z]{1,9}(:5000)?/[a-z]{1,9}/[a-z]{1,9}(:v[0-9])?(@sha256:[0-9a-f]{64})?", fullmatch=True),
    st.from_regex(r"models:/[a-z]{1,9}(@[a-z]{1,9}|/[0-9]{1,3})(#[a-z]{1,9})?", fullmatch=True),
)
words = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
quantities = st.one_of(
    st.integers(0, 64),
    st.from_regex(r"[0-9]{1,4}(m|k|Ki|Mi|Gi)?", fullmatch=True),
)


def specs() -> st.SearchStrategy[Json]:
    """Specs as a user writes them: what is optional is sometimes left out."""
    resources = st.dictionaries(st.sampled_from(["cpu", "memory"]), quantities, max_size=2)
    quality = st.one_of(
        _part({}, {"falseRollbackProbability": decimals(above=0, most=5_000)}),
        _part(
            {
                "metrics": _part(
                    {"name": words, "metric": st.just("accuracy")},
                    {"margin": decimals(above=-1, most=10_000), "floor": decimals(above=0, most=9_999)},
                ).map(lambda metric: [metric]),
                "testSet": _part({"uri": uris, "truth": words}, {"digest": digests, "interval": durations}),
            },
            {
                "falseRollbackProbability": decimals(above=0, most=5_000),
                "onDegraded": st.sampled_from(["Rollback", "Alert"]),
            },
        ),
    )
    public_keys = st.one_of(
        *(st.fixed_dictionaries({kind: words, "key": words}) for kind in ("configMapName", "secretName"))
    )
    limits = {
        "maxSize": st.from_regex(r"[1-9][0-9]{0,4}(Mi|Gi|Ti)", fullmatch=True),
        "timeout": st.integers(1, 24).map(lambda hours: f"{hours}h"),
        "ledgerAfter": st.integers(1, 999).map(lambda seconds: f"{seconds}s"),
    }
    model = _part(
        {"uri": model_uris},
        {
            "signature": _part({"publicKey": public_keys}, {}),
            "fetch": _part({}, limits),
            "digest": digests,
            "predictions": st.lists(_part({"output": words}, {}), max_size=1),
            "credentials": _part({"secretName": words}, {}),
        },
    )
    positive = st.one_of(st.integers(1, 64), st.from_regex(r"[1-9][0-9]{0,3}(m|k|Ki|Mi|Gi)?", fullmatch=True))
    targets = st.one_of(
        _part({"type": st.just("Utilization"), "averageUtilization": st.integers(1, 1_000)}, {}),
        _part({"type": st.just("AverageValue"), "averageValue": positive}, {}),
    )
    pods_metric = _part(
        {"metric": _part({"name": words}, {}), "target": _part({"averageValue": positive}, {})},
        {},
    )
    metrics = st.one_of(
        _part({"type": st.just("Resource"), "resource": _part({"name": st.just("cpu"), "target": targets}, {})}, {}),
        _part({"type": st.just("Pods"), "pods": pods_metric}, {}),
    )
    scaled = _part(
        {
            "autoscaling": _part(
                {"maxReplicas": st.integers(3, 1_000)},
                {"minReplicas": st.integers(1, 3), "metrics": st.lists(metrics, max_size=3)},
            ),
            "resources": st.just({"requests": {"cpu": "500m"}}),
        },
        {},
    )
    variables = _part(
        {"name": st.from_regex(r"[A-KM-Z][A-SU-Z_]{0,9}", fullmatch=True)},
        {},
    ).flatmap(
        lambda named: st.one_of(
            _part({"value": words}, {}),
            _part({"valueFrom": _part({"secretKeyRef": _part({"name": words, "key": words}, {})}, {})}, {}),
        ).map(lambda given: named | given)
    )
    template = _part(
        {},
        {
            "labels": st.dictionaries(words, words, max_size=2),
            "nodeSelector": st.dictionaries(words, words, max_size=2),
            "tolerations": st.lists(_part({"operator": st.just("Exists")}, {"key": words}), max_size=2),
            "serviceAccountName": words,
            "terminationGracePeriodSeconds": st.integers(35, 3_600),
            "env": st.lists(variables, max_size=2),
        },
    )
    fixed = _part(
        {},
        {
            "replicas": st.integers(0, 1_000),
            "podTemplate": template,
            "image": st.from_regex(r"[a-z]{1,9}(/[a-z]{1,9})?(:[a-z0-9]{1,9})?", fullmatch=True),
            "executionProviders": st.lists(
                st.from_regex(r"[A-Z]{2,9}ExecutionProvider(:[a-z_]{1,9}=[a-z0-9]{1,9})?", fullmatch=True), max_size=3
            ),
            "resources": _part({}, {"requests": resources, "limits": resources}),
            "batching": _part({}, {"maxRows": st.integers(1, 4_096)}),
        },
    )
    runtime = st.one_of(fixed, scaled)
    amounts = st.one_of(st.just("Same"), st.integers(0, 1_000), st.integers(0, 100).map(lambda part: f"{part}%"))
    rollout = _part(
        {},
        {
            "strategy": st.sampled_from(["BlueGreen", "RollingUpdate"]),
            "progressDeadline": durations,
            "lastGood": _part({}, {"replicas": amounts, "for": durations}),
        },
    )
    return _part({"model": model}, {"runtime": runtime, "rollout": rollout, "quality": quality})


def _part(required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]) -> Any:
    return st.fixed_dictionaries(required, optional=optional)


def newer_records() -> st.SearchStrategy[Json]:
    """Records as a newer version might write them: with fields at every level that this one does not know."""
    values: st.SearchStrategy[Any] = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
        max_leaves=5,
    )
    unknown = st.dictionaries(st.sampled_from(["rest", "<rest>", "text", "problem", "slices", ""]), values, max_size=3)

    def known(required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[Json]:
        return st.tuples(unknown, _part(required, optional or {})).map(lambda parts: parts[0] | parts[1])

    times = st.floats(0.5, 2e9)
    findings = st.lists(
        known({"gate": words, "reason": words, "message": words, "at": times}, {"served": st.just(True)}),
        min_size=1,
        max_size=3,
    )
    test = known(
        {"key": words, "digest": digests, "rows": st.just(3), "right": st.just("eNpbAAAAoQCh"), "answers": words}
    )
    way_back = known({"gate": words, "revision": words, "since": times})
    optional = {
        "rejections": findings,
        "pardoned": findings,
        "test": test,
        "way_back": way_back,
        "serving_since": times,
    }
    return known({"wanted_at": times}, optional)
