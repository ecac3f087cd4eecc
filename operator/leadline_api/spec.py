"""What a user asks for: the spec of a ModelDeployment.

The CRD is generated from these models (`leadline_api.crd`), docstrings included, so the API server has already refused
what is malformed; parsing here tolerates fields of a newer CRD. Decimals arrive as strings and durations as in
Kubernetes (`90s`, `24h`, `7d`); `leadline_api.quantities` turns them into numbers.

Must not have a field that does not work yet.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from leadline_api import quantities, uris
from leadline_api.fields import AT_LEAST_ONE_SECOND, AT_MOST_ONE_DAY, NOT_NEGATIVE, Digest, Duration, Part, Uri, name_of
from leadline_api.objectives import ONE_IS_SET, Objectives
from leadline_api.pods import REPLICAS_OR_AUTOSCALING, SHARES_NEED_REQUESTS, Runtime
from leadline_api.quality import (
    ONE_IS_OF_SCORES,
    SOME_ARE_OF_A_CLASS,
    TEST_SET_NEEDS_ACCURACY,
    TEST_SET_NEEDS_METRICS,
    Quality,
)
from leadline_api.retraining import Retrain
from leadline_api.rollout import CANARY_HAS_STEPS, SHADOW_COMES_FIRST, STEPS_GROW, Rollout
from leadline_api.rules import VALIDATIONS, Rule, matches
from leadline_api.sources import QUORUM_NEEDS_NAMES, Sources


class Credentials(Part):
    """Where the runtime finds credentials for the model's and the test set's store."""

    secret_name: Annotated[str, Field(min_length=1, max_length=253), name_of("Secret", "s3-reader")]
    """Secret in the same namespace; its keys become environment variables of the runtime (AWS_ACCESS_KEY_ID,
    GOOGLE_SERVICE_ACCOUNT_KEY, AZURE_STORAGE_ACCOUNT_KEY, OCI_USERNAME, HF_TOKEN, MLFLOW_TRACKING_URI,
    HTTP_AUTHORIZATION and so on: docs/models.md)."""


class Prediction(Part):
    """Which output of the model is the prediction."""

    output: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the output that holds the predicted class."""
    scores: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Name of the output that holds the scores of the classes, for metric: auc; left out: the only one that can hold them."""


class PublicKey(Part):
    """Where a public key is: a key of a ConfigMap or of a Secret."""

    config_map_name: Annotated[str, Field(min_length=1, max_length=253), name_of("ConfigMap", "model-key")] | None = (
        None
    )
    """ConfigMap in the same namespace."""
    secret_name: Annotated[str, Field(min_length=1, max_length=253), name_of("Secret", "model-key")] | None = None
    """Secret in the same namespace."""
    key: Annotated[
        str,
        Field(min_length=1, max_length=253),
        matches(r"[-._a-zA-Z0-9]+", "must be a key of it: letters, digits, -, _ and ., such as key.pub"),
    ]
    """Its key that holds the public key, PEM."""


_OneKey = Rule(
    cel="has(self.configMapName) != has(self.secretName)",
    message="spec.model.signature.publicKey needs either configMapName or secretName",
    holds=lambda key: (key.config_map_name is None) != (key.secret_name is None),
    shows_value=False,
)


class Signature(Part):
    """Who must have signed the model, with OpenSSF model signing (`model_signing sign key`)."""

    public_key: Annotated[PublicKey, _OneKey]
    """The key that the signature is verified with."""


class Fetch(Part):
    """Limits of fetching the model."""

    max_size: Annotated[
        str,
        Field(max_length=8),
        matches(r"[1-9][0-9]{0,4}(Mi|Gi|Ti)", "must be a size such as 500Mi, 20Gi or 1Ti"),
    ] = "2Gi"
    """Most bytes, of all files together."""
    timeout: Annotated[Duration, AT_LEAST_ONE_SECOND, AT_MOST_ONE_DAY] = "1h"
    """Longest single try; the next one goes on where it ended."""
    ledger_after: Annotated[Duration, AT_LEAST_ONE_SECOND, AT_MOST_ONE_DAY] = "60s"
    """A URI that needs longer has the ledger asked beside it for its copy of the bytes."""


class Model(Part):
    """The model to serve."""

    uri: Uri
    """Where it is: an ONNX file, or a folder (docs/models.md). file://, pvc://CLAIM/path, http(s)://, s3://bucket/key,
    gs://, az://, oci://registry/repository:tag, hf://organisation/name@revision/path, models:/name@alias (MLflow)."""
    digest: Digest | None = None
    """`sha256:` and 64 hexadecimal digits of the bytes, or of a folder's manifest. Left out: learned at first load and
    held from then on."""
    signature: Signature | None = None
    """Who must have signed it. Left out: nobody."""
    fetch: Fetch | None = None
    """Limits of fetching it. Left out: 2Gi, 1h, 60s."""
    predictions: Annotated[list[Prediction], Field(max_length=1)] = []
    """Needed only where the model's metadata does not say which output is the prediction."""
    credentials: Credentials | None = None
    """Credentials for the model's and the test set's store. Left out: none."""


_OthersNeedOutcomes = Rule(
    cel="!has(self.quality) || !has(self.quality.metrics) || has(self.outcomes) || "
    "self.quality.metrics.all(m, m.metric == 'accuracy')",
    message="spec.quality.metrics other than accuracy need spec.outcomes, true answers to measure them by; add maturity",
    holds=lambda spec: spec.outcomes is not None or all(each.metric == "accuracy" for each in spec.quality.metrics),
    shows_value=False,
)
_MetricsNeedAnswers = Rule(
    cel="!has(self.quality) || !has(self.quality.metrics) || size(self.quality.metrics) == 0 || "
    "has(self.quality.testSet) || has(self.outcomes)",
    message="spec.quality.metrics needs spec.quality.testSet (labelled examples to measure them on; add uri and truth) "
    "or spec.outcomes (true answers that come back; add maturity)",
    holds=lambda spec: not spec.quality.metrics or spec.quality.test_set is not None or spec.outcomes is not None,
    shows_value=False,
)
_ShadowNeedsOutcomes = Rule(
    cel="!has(self.rollout) || !has(self.rollout.shadow) || has(self.outcomes)",
    message="spec.rollout.shadow needs spec.outcomes: true answers that judge both revisions on the same inputs; "
    "add maturity",
    holds=lambda spec: spec.rollout.shadow is None or spec.outcomes is not None,
    shows_value=False,
)
_OneClaim = Rule(
    cel="!has(self.quality) || !has(self.quality.testSet) || !has(self.quality.testSet.uri) || "
    "!self.quality.testSet.uri.startsWith('pvc://') || "
    "self.model.uri.startsWith('pvc://') && self.model.uri.split('/')[2] == self.quality.testSet.uri.split('/')[2]",
    message="spec.quality.testSet.uri: a pvc:// test set needs to be on the claim of spec.model.uri: pods mount that one",
    holds=lambda spec: (
        spec.quality.test_set is None
        or spec.quality.test_set.uri is None
        or not spec.quality.test_set.uri.startswith("pvc://")
        or uris.claim_of(spec.quality.test_set.uri) == uris.claim_of(spec.model.uri)
    ),
    shows_value=False,
)


_GrownNeedsCapture = Rule(
    cel="!has(self.quality) || !has(self.quality.testSet) || !has(self.quality.testSet.from) || "
    "has(self.outcomes) && has(self.outcomes.capture)",
    message="spec.quality.testSet.from: outcomes needs spec.outcomes.capture, inputs to make a test set of; add "
    "capture: {percent: 10}",
    holds=lambda spec: (
        spec.quality.test_set is None
        or spec.quality.test_set.from_ is None
        or (spec.outcomes is not None and spec.outcomes.capture is not None)
    ),
    shows_value=False,
)


class Capture(Part):
    """Inputs of a share of the predictions, kept to train with."""

    percent: Annotated[int, Field(ge=1, le=100)] = 10
    """Share of the predictions with a receipt, drawn at random, whose inputs are kept."""
    drop: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=64)] = []
    """Inputs of the model that never leave the pod, such as those that say who somebody is."""
    retention: Annotated[Duration, AT_LEAST_ONE_SECOND] | None = None
    """How long they are kept. Left out: spec.outcomes.maxAge."""
    max_size: Annotated[
        str,
        Field(max_length=8),
        matches(r"[1-9][0-9]{0,4}(Mi|Gi|Ti)", "must be a size such as 500Mi, 20Gi or 1Ti"),
    ] = "1Gi"
    """Most bytes, as they are kept; beyond it the oldest go."""
    every: Annotated[Duration, AT_LEAST_ONE_SECOND, AT_MOST_ONE_DAY] = "1m"
    """How long they gather in a pod, at most, before they are kept: what a pod that is killed has gathered is lost, and
    shorter ones make more and smaller files."""


class Outcomes(Part):
    """True answers that come back after a prediction."""

    maturity: Annotated[Duration, NOT_NEGATIVE]
    """Time after which a prediction is judged, with what has come by then: longer than answers usually take, for right
    and wrong ones may come at different speeds. 0s where they come equally fast: each is judged as it comes."""
    max_age: Annotated[Duration, AT_LEAST_ONE_SECOND] = "30d"
    """How long outcomes are taken and kept."""
    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Share of the predictions, drawn at random, that get a receipt."""
    key_by: Literal["receipt", "id"] = "receipt"
    """How an outcome names its prediction: by the receipt that came with it, or by the request's own id."""
    entity: (
        Annotated[
            str,
            Field(max_length=64),
            matches(
                r"[A-Za-z_][-A-Za-z0-9_.]*",
                "must be the name of a request parameter: letters, digits, -, _ and ., such as customer_id",
            ),
        ]
        | None
    ) = None
    """Request parameter that says whom a prediction is about. Of each only the first outcome of a revision is evidence, for many
    answers about one customer are not many customers. Left out: every outcome is evidence."""
    sources: Annotated[Sources, QUORUM_NEEDS_NAMES] | None = None
    """Who may report, how many, and how much one of them may decide. Left out: nobody is asked who it is."""
    capture: Capture | None = None
    """Inputs of a share of the predictions, kept to train with. Left out: none are."""


_OutcomesEndSteps = Rule(
    cel="!has(self.rollout) || !has(self.rollout.steps) || has(self.outcomes) || "
    "self.rollout.steps.all(s, !has(s.until.outcomes))",
    message="spec.rollout.steps[].until.outcomes needs spec.outcomes: true answers that come back; add maturity, or give a "
    "duration",
    holds=lambda spec: spec.outcomes is not None or all(each.until.outcomes is None for each in spec.rollout.steps),
    shows_value=False,
)
_RetrainNeedsOutcomes = Rule(
    cel="!has(self.retrain) || has(self.outcomes)",
    message="spec.retrain needs spec.outcomes: true answers to train with; add maturity",
    holds=lambda spec: spec.retrain is None or spec.outcomes is not None,
    shows_value=False,
)
_AgeCoversMaturity = Rule(
    cel="self.maxAge >= self.maturity",
    message="spec.outcomes.maxAge must be at least spec.outcomes.maturity: an outcome is kept until it is judged, or longer",
    holds=lambda outcomes: quantities.seconds(outcomes.max_age) >= quantities.seconds(outcomes.maturity),
    shows_value=False,
)
_ACROSS: Final = (
    _MetricsNeedAnswers,
    _OthersNeedOutcomes,
    _ShadowNeedsOutcomes,
    _OutcomesEndSteps,
    _OneClaim,
    _RetrainNeedsOutcomes,
    _GrownNeedsCapture,
)


class ModelDeploymentSpec(Part):
    """What a ModelDeployment asks for."""

    model_config = ConfigDict(json_schema_extra={VALIDATIONS: [dict(rule.as_validation()) for rule in _ACROSS]})

    model: Model
    """The model to serve."""
    runtime: Annotated[Runtime, REPLICAS_OR_AUTOSCALING, SHARES_NEED_REQUESTS] = Runtime()
    """The pods that answer."""
    rollout: Annotated[Rollout, SHADOW_COMES_FIRST, CANARY_HAS_STEPS, STEPS_GROW] = Rollout()
    """How a new revision takes over."""
    quality: Annotated[
        Quality, TEST_SET_NEEDS_METRICS, TEST_SET_NEEDS_ACCURACY, SOME_ARE_OF_A_CLASS, ONE_IS_OF_SCORES
    ] = Quality()
    """How good the model must be, and what happens when it is not."""
    objectives: Annotated[Objectives, ONE_IS_SET] | None = None
    """How the pods must answer, whatever they answer. Left out: that is not judged."""
    outcomes: Annotated[Outcomes, _AgeCoversMaturity] | None = None
    """True answers that come back after a prediction. Left out: none are taken."""
    retrain: Retrain | None = None
    """Trains the model anew from its outcomes. Left out: that is done elsewhere."""

    @model_validator(mode="after")
    def _keeps_the_rules_across_its_parts(self) -> Self:
        for rule in _ACROSS:
            rule.checked(self)
        return self


PROBLEMS_SHOWN = 3
"""Of a spec that cannot be read; a status message has room for that many."""


def problems(error: ValidationError) -> str:
    """Say what is wrong with a spec: which field, what was expected, what was found."""
    found = error.errors(include_url=False)
    more = f"; and {len(found) - PROBLEMS_SHOWN} more" if len(found) > PROBLEMS_SHOWN else ""
    return "; ".join(map(_problem, found[:PROBLEMS_SHOWN])) + more


def _problem(found: ErrorDetails) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"])
    says_value = found["type"] in ("rule", "value_error", "missing") or isinstance(found["input"], dict | list)
    got = "" if says_value else f"; got {str(found['input'])[:64]}"
    message = found["msg"].removeprefix("Value error, ")
    return f"spec{path}: {message[0].lower()}{message[1:]}{got}"
