"""A packaged model answers as the original does, says what it is, and is refused where it would not.

The files' side is in test_files, the command line's in test_main.
"""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from leadline_api.spec import ModelDeploymentSpec
from leadline_cli import comparing, errors, manifests, packaging, testsets, trained
from leadline_stats import test_sets
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

ESTIMATORS = {
    "svc": SVC(gamma=0.001, C=10),
    "logistic": LogisticRegression(C=0.001, max_iter=5_000),
    "neighbours": KNeighborsClassifier(3),
    "forest": RandomForestClassifier(10, random_state=0),
    "bayes": GaussianNB(var_smoothing=1e-3),
    "ridge": RidgeClassifier(),
    "descent": SGDClassifier(random_state=0),
    "scaled": make_pipeline(StandardScaler(), SVC()),
    "linear": make_pipeline(StandardScaler(), LinearSVC(random_state=0)),
}


@pytest.mark.parametrize("classes", [10, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_converted_model_answers_as_the_original_does(digits, options, tmp_path, name, classes):
    rows, truths, unseen = digits
    examples = testsets.Examples("image", unseen.rows, "digit", unseen.truths % classes)
    packaged = packaging.package(ESTIMATORS[name].fit(rows, truths % classes), examples, out=tmp_path, manifest=options)
    assert (packaged.comparison.different, packaged.comparison.scores_off) == ((), ())
    assert packaged.right == int((ESTIMATORS[name].predict(unseen.rows) == examples.truths).sum())
    assert test_sets.count_right(packaged.right_bitmap, 400) == packaged.right


def test_distances_to_neighbours_are_one_operator_and_no_loop(digits, options, tmp_path):
    rows, truths, unseen = digits
    packaging.package(KNeighborsClassifier(3).fit(rows, truths), unseen, out=tmp_path, manifest=options)
    operators = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert "CDist" in operators
    assert "Scan" not in operators


def test_model_says_its_task_classes_and_prediction(digits, options, tmp_path):
    rows, truths, unseen = digits
    packaging.package(GaussianNB(var_smoothing=1e-3).fit(rows, truths), unseen, out=tmp_path, manifest=options)
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert metadata["leadline.task"] == "classification"
    assert json.loads(metadata["leadline.classes"]) == list(range(10))
    assert metadata["leadline.prediction"] == "label"


@pytest.mark.parametrize(("name", "scores"), [("logistic", "probabilities"), ("svc", "scores"), ("ridge", "scores")])
def test_outputs_are_called_probabilities_only_where_they_are(digits, options, tmp_path, name, scores):
    rows, truths, unseen = digits
    packaging.package(ESTIMATORS[name].fit(rows, truths), unseen, out=tmp_path, manifest=options)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("image", "tensor(float)", [None, 64])
    ]
    assert [(value.name, value.type) for value in session.get_outputs()] == [
        ("label", "tensor(int64)"),
        (scores, "tensor(float)"),
    ]


def test_same_model_has_the_same_bytes_when_it_is_packaged_again(digits, options, tmp_path):
    rows, truths, unseen = digits
    model = LogisticRegression(C=0.001, max_iter=5_000).fit(rows, truths)
    digests = {packaging.package(model, unseen, out=tmp_path, manifest=options).model_digest for _ in range(2)}
    assert len(digests) == 1


def test_classes_that_are_words_survive(digits, options, tmp_path):
    rows, truths, unseen = digits
    words = np.array(["even", "odd"])
    model = GaussianNB(var_smoothing=1e-3).fit(rows, words[truths % 2])
    examples = testsets.Examples("image", unseen.rows, "parity", words[unseen.truths % 2])
    assert packaging.package(model, examples, out=tmp_path, manifest=options).right > 300


def test_manifest_is_accepted_and_names_the_written_bytes(digits, tmp_path):
    rows, truths, unseen = digits
    options = manifests.Options(
        "digits", store="s3://models/digits/", floor="0.80", credentials="s3-reader", test_set_uri="s3://tests/digits"
    )
    packaged = packaging.package(
        GaussianNB(var_smoothing=1e-3).fit(rows, truths), unseen, out=tmp_path, manifest=options
    )
    spec = ModelDeploymentSpec.model_validate(yaml.safe_load((tmp_path / "modeldeployment.yaml").read_text())["spec"])
    assert (spec.model.uri, spec.model.digest) == ("s3://models/digits/model.onnx", packaged.model_digest)
    assert (spec.quality.test_set.uri, spec.quality.test_set.digest) == ("s3://tests/digits", packaged.test_set_digest)
    assert (spec.quality.test_set.truth, spec.quality.metrics[0].floor) == ("digit", "0.80")
    assert spec.model.credentials.secret_name == "s3-reader"


def seconds_of_two_minutes():
    """Times of day in seconds since 1970: 64 bits tell them apart, 32 bits only every 128 s."""
    seconds = 1_760_000_000 + np.arange(400, dtype=np.float64).reshape(-1, 1) % 120
    return seconds, (seconds[:, 0] % 120 >= 60).astype(np.int64)


def test_model_is_refused_when_32_bits_cannot_tell_its_inputs_apart(options, tmp_path):
    seconds, late = seconds_of_two_minutes()
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(seconds, late)
    examples = testsets.Examples("time", seconds, "late", late)
    with pytest.raises(errors.Refused, match=r"answers \d+ of 400 rows differently .*train on numpy.float32 values"):
        packaging.package(model, examples, out=tmp_path / "out", manifest=options)
    assert not (tmp_path / "out").exists()


def test_model_is_refused_when_a_tree_splits_between_neighbouring_32_bit_numbers(options, tmp_path):
    """Every row is rounded to one of two numbers; the tree splits where the upper half of those below is rounded up."""
    low = 1.0
    high = float(np.nextafter(np.float32(low), np.float32(2)))
    rows = np.linspace(low, high, 402)[1:-1].reshape(-1, 1)
    truths = (rows[:, 0] > low + 0.75 * (high - low)).astype(np.int64)
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(rows, truths)
    with pytest.raises(errors.Refused, match="answers 100 of 400 rows differently"):
        packaging.package(model, testsets.Examples("x", rows, "y", truths), out=tmp_path, manifest=options)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (KMeans(2), "expected a classifier or a regressor, got KMeans"),
        (LinearRegression(), "this LinearRegression is not trained; call fit"),
        (GaussianNB(), "this GaussianNB is not trained; call fit"),
        (GaussianNB().fit(np.eye(2), [0, 1]), "column 'image' has 64 numbers per row, the model takes 2"),
        (GaussianNB().fit(np.eye(64)[:2], [0.0, 1.0]), "classes that are whole numbers or strings"),
        (GaussianNB().fit(np.eye(64)[:2], ["a", "b"]), "column 'digit' holds none of the model's classes"),
    ],
)
def test_estimator_is_refused_when_it_does_not_fit(digits, options, tmp_path, estimator, message):
    with pytest.raises(errors.Refused, match=message):
        packaging.package(estimator, digits[2], out=tmp_path, manifest=options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "digits.v2"}, "--name: must be a DNS label of at most 52 characters"),
        ({"floor": "2"}, r"spec.quality.metrics\[0\].floor: must be a number above 0"),
        ({"margin": "-1"}, r"spec.quality.metrics\[0\].margin: must be a number from 0 to 1"),
        ({"store": "ftp://models"}, "spec.model.uri: must begin with file://"),
    ],
)
def test_manifest_is_refused_in_the_words_of_the_api_server(digits, tmp_path, changes, message):
    options = manifests.Options(**{"name": "digits", "store": "s3://models/digits", **changes})
    with pytest.raises(errors.Refused, match=message):
        packaging.package(GaussianNB(), digits[2], out=tmp_path, manifest=options)


def answers(labels, scores=None):
    return trained.Answers(np.array(labels), None if scores is None else np.array(scores, dtype=float))


def test_label_may_differ_where_the_original_is_undecided():
    original = answers([0, 1], [[0.5, 0.5], [0.2, 0.8]])
    found = comparing.compare(original, answers([1, 1], [[0.5, 0.5], [0.2, 0.8]]))
    assert (found.different, found.ties, found.trouble()) == ((), (0,), None)


def test_label_may_not_differ_where_the_original_is_decided():
    original = answers([0, 1], [[0.6, 0.4], [0.2, 0.8]])
    found = comparing.compare(original, answers([0, 0], [[0.6, 0.4], [0.2, 0.8]]))
    assert found.different == (1,)
    assert "answers 1 of 2 rows differently (first: row 1)" in found.trouble()


def test_label_may_not_differ_where_there_are_no_scores():
    assert comparing.compare(answers([0, 1]), answers([0, 0])).different == (1,)


@pytest.mark.parametrize("scores", [[[0.6, 0.401]], [[float("nan"), 0.4]], [[0.6, 0.3, 0.1]]])
def test_scores_may_differ_by_rounding_only(scores):
    found = comparing.compare(answers([0], [[0.6, 0.4]]), answers([0], scores))
    assert "gives other scores on 1 of 1 rows" in found.trouble()
