"""Models of XGBoost, LightGBM and CatBoost: packaged, they answer as the original does, or are refused by name.

scikit-learn alone is in test_packaging; PyTorch, which is gigabytes, in tests/torch (make test-torch).
"""

import json

import catboost
import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import xgboost
from leadline_cli import comparing, conversion, errors, estimators, frameworks, manifests, packaging, testsets
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

QUIET = {"verbose": 0, "allow_writing_files": False, "iterations": 12}


def split(loaded):
    """Shuffle with a fixed seed; half to train, half unseen."""
    rows, truths = loaded
    order = np.random.default_rng(0).permutation(len(rows))
    half = len(rows) // 2
    return rows[order[:half]], truths[order[:half]], rows[order[half:]], truths[order[half:]]


BINARY = split(load_breast_cancer(return_X_y=True))
MANY = split(load_iris(return_X_y=True))
VALUES = split(load_diabetes(return_X_y=True))
VALUES_32 = tuple(part.astype(np.float32) if part.ndim == 2 else part for part in VALUES)
BINARY_32 = tuple(part.astype(np.float32) if part.ndim == 2 else part for part in BINARY)
WORDS = np.array(["setosa", "versicolor", "virginica"])


def worded(data):
    rows, truths, unseen, unseen_truths = data
    return rows, WORDS[truths], unseen, WORDS[unseen_truths]


def with_gaps(data, share=0.15):
    """Numbers are missing, in training and unseen."""
    rows, truths, unseen, unseen_truths = data
    draw = np.random.default_rng(1)
    rows, unseen = rows.copy(), unseen.copy()
    rows[draw.random(rows.shape) < share] = np.nan
    unseen[draw.random(unseen.shape) < share] = np.nan
    return rows, truths, unseen, unseen_truths


def packaged(model, data, folder, **more):
    examples = testsets.of_arrays(data[2], data[3], input_name="row")
    return packaging.package(model, examples, out=folder, manifest=manifests.Options("m", store="s3://m"), **more)


def xgb(**more):
    return xgboost.XGBClassifier(n_estimators=12, n_jobs=1, **more)


def xgb_values(**more):
    return xgboost.XGBRegressor(n_estimators=12, n_jobs=1, **more)


def lgb(**more):
    return lightgbm.LGBMClassifier(n_estimators=12, n_jobs=1, verbose=-1, **more)


def lgb_values(**more):
    return lightgbm.LGBMRegressor(n_estimators=12, n_jobs=1, verbose=-1, **more)


CLASSIFIERS = {
    "xgboost binary": (xgb(), BINARY),
    "xgboost many": (xgb(), MANY),
    "xgboost with gaps": (xgb(), with_gaps(BINARY)),
    "xgboost base score": (xgb(base_score=0.9), BINARY),
    "lightgbm binary": (lgb(), BINARY),
    "lightgbm many": (lgb(), MANY),
    "lightgbm words": (lgb(), worded(MANY)),
    "lightgbm with gaps": (lgb(), with_gaps(BINARY)),
    "lightgbm dart": (lgb(boosting_type="dart"), BINARY),
    "lightgbm 32 bits": (lgb(), BINARY_32),
    "catboost binary": (catboost.CatBoostClassifier(**QUIET), BINARY),
    "catboost many": (catboost.CatBoostClassifier(**QUIET), MANY),
    "catboost words": (catboost.CatBoostClassifier(**QUIET), worded(MANY)),
    "catboost with gaps": (catboost.CatBoostClassifier(**QUIET), with_gaps(BINARY)),
    "catboost gaps above": (catboost.CatBoostClassifier(nan_mode="Max", **QUIET), with_gaps(BINARY)),
    "catboost one versus all": (catboost.CatBoostClassifier(loss_function="MultiClassOneVsAll", **QUIET), MANY),
    "pipeline of xgboost": (make_pipeline(StandardScaler(), xgb()), MANY),
    "pipeline of lightgbm": (make_pipeline(StandardScaler(), lgb()), BINARY_32),
}
REGRESSORS = {
    "xgboost squared": xgb_values(),
    "xgboost far base": xgb_values(base_score=-40.0),
    "xgboost absolute": xgb_values(objective="reg:absoluteerror"),
    "xgboost quantile": xgb_values(objective="reg:quantileerror", quantile_alpha=0.8),
    "xgboost poisson": xgb_values(objective="count:poisson"),
    "xgboost gamma": xgb_values(objective="reg:gamma"),
    "xgboost tweedie": xgb_values(objective="reg:tweedie"),
    "lightgbm squared": lgb_values(),
    "lightgbm absolute": lgb_values(objective="mae"),
    "lightgbm huber": lgb_values(objective="huber"),
    "lightgbm fair": lgb_values(objective="fair"),
    "lightgbm mape": lgb_values(objective="mape"),
    "lightgbm quantile": lgb_values(objective="quantile", alpha=0.8),
    "lightgbm poisson": lgb_values(objective="poisson"),
    "lightgbm tweedie": lgb_values(objective="tweedie"),
    "catboost squared": catboost.CatBoostRegressor(**QUIET),
    "catboost absolute": catboost.CatBoostRegressor(loss_function="MAE", **QUIET),
    "catboost poisson": catboost.CatBoostRegressor(loss_function="Poisson", **QUIET),
    "catboost tweedie": catboost.CatBoostRegressor(loss_function="Tweedie:variance_power=1.5", **QUIET),
    "scikit-learn": LinearRegression(),
    "pipeline of xgboost": make_pipeline(StandardScaler(), xgb_values()),
    "pipeline of lightgbm": make_pipeline(StandardScaler(), lgb_values()),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_answers_as_the_original_does(tmp_path, name):
    model, data = CLASSIFIERS[name]
    model.fit(data[0], data[1])
    found = packaged(model, data, tmp_path)
    assert found.comparison.equal == len(data[2])
    own = np.asarray(model.predict(data[2])).reshape(-1)
    assert found.right == int((own == data[3]).sum())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    labels, scores = session.run(["label", "probabilities"], {"row": data[2].astype(np.float32)})
    assert labels.tolist() == own.tolist()
    np.testing.assert_allclose(scores, model.predict_proba(data[2]), atol=1e-5)


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressor_answers_as_the_original_does(tmp_path, name):
    data = VALUES_32 if "pipeline" in name else VALUES
    model = REGRESSORS[name].fit(data[0], data[1])
    found = packaged(model, data, tmp_path)
    assert found.comparison.equal == len(data[2])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (values,) = session.run(["value"], {"row": data[2].astype(np.float32)})
    np.testing.assert_allclose(values[:, 0], model.predict(data[2]), rtol=1e-4)
    assert found.errors.mean_absolute == pytest.approx(np.abs(values[:, 0] - VALUES[3]).mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("xgboost many", [("label", [None]), ("probabilities", [None, 3])]),
        ("lightgbm words", [("label", [None]), ("probabilities", [None, 3])]),
        ("catboost many", [("label", [None]), ("probabilities", [None, 3])]),
    ],
)
def test_model_says_what_it_takes_and_gives_as_others_do(tmp_path, name, outputs):
    model, data = CLASSIFIERS[name]
    packaged(model.fit(data[0], data[1]), data, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("row", "tensor(float)", [None, 4])
    ]
    assert [(value.name, value.shape) for value in session.get_outputs()] == outputs
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    classes = list(WORDS) if "words" in name else [0, 1, 2]
    assert metadata.keys() == {"leadline.task", "leadline.classes", "leadline.prediction"}
    assert (metadata["leadline.task"], metadata["leadline.prediction"]) == ("classification", "label")
    assert json.loads(metadata["leadline.classes"]) == classes


def test_regression_says_its_task_and_is_judged_by_the_true_values_that_come_back(tmp_path):
    packaged(lgb_values().fit(VALUES[0], VALUES[1]), VALUES, tmp_path)
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert metadata == {"leadline.task": "regression", "leadline.prediction": "value"}
    manifest = (tmp_path / "modeldeployment.yaml").read_text()
    assert "testSet:" not in manifest
    assert "set maturity to how long they usually take" in manifest
    assert "metric: mae" in manifest


def saved(model, path):
    """Save a model as its framework does."""
    if isinstance(model, lightgbm.LGBMModel):
        model.booster_.save_model(path)
    else:
        model.save_model(path)
    return path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("xgboost binary", "m.json"),
        ("xgboost many", "m.ubj"),
        ("lightgbm binary", "m.txt"),
        ("lightgbm many", "m.txt"),
        ("catboost words", "m.cbm"),
        ("catboost binary", "model.bin"),
    ],
)
def test_file_is_known_by_what_is_in_it(tmp_path, name, file):
    model, data = CLASSIFIERS[name]
    path = saved(model.fit(data[0], data[1]), tmp_path / file)
    found = packaged(estimators.load(path), data, tmp_path / "out")
    again = packaged(model, data, tmp_path / "again")
    assert (found.right, found.model_digest) == (again.right, again.model_digest)


@pytest.mark.parametrize("name", ["xgboost squared", "xgboost poisson", "lightgbm tweedie", "catboost poisson"])
def test_file_of_a_regression_is_one(tmp_path, name):
    path = saved(REGRESSORS[name].fit(VALUES[0], VALUES[1]), tmp_path / "model.ubj")
    found = packaged(estimators.load(path), VALUES, tmp_path / "out")
    assert (found.task, found.comparison.equal) == ("regression", len(VALUES[2]))


def test_booster_with_words_for_its_classes_says_them(tmp_path):
    booster = xgb().fit(MANY[0], MANY[1]).get_booster()
    data = worded(MANY)
    found = packaged(frameworks.of(booster, classes=tuple(WORDS)), data, tmp_path)
    assert found.right == int((WORDS[booster.predict(xgboost.DMatrix(data[2])).argmax(axis=1)] == data[3]).sum())


def test_rounds_after_the_best_one_are_left_out_as_the_original_does(tmp_path):
    model = xgboost.XGBClassifier(n_estimators=80, early_stopping_rounds=4, n_jobs=1)
    model.fit(BINARY[0][:200], BINARY[1][:200], eval_set=[(BINARY[0][200:], BINARY[1][200:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    assert packaged(model, BINARY, tmp_path).comparison.equal == len(BINARY[2])
    file = packaged(estimators.load(saved(model, tmp_path / "m.json")), BINARY, tmp_path)
    assert file.right == int((model.predict(BINARY[2]) == BINARY[3]).sum())


def test_columns_with_names_are_no_obstacle(tmp_path):
    names = [f"column {place}" for place in range(4)]
    for model in (xgb(), lgb(), catboost.CatBoostClassifier(**QUIET), make_pipeline(StandardScaler(), xgb())):
        model.fit(pd.DataFrame(MANY[0], columns=names), MANY[1])
        found = packaged(model, MANY, tmp_path)
        assert found.comparison.equal == len(MANY[2])


def test_thresholds_are_compared_as_64_bits_would(tmp_path):
    """Neighbouring 32-bit numbers: rounded to the nearest, the threshold between them would be the upper one."""
    low = np.float32(1.0)
    numbers = [low]
    for _ in range(7):
        numbers.append(np.nextafter(numbers[-1], np.float32(2)))
    rows = np.repeat(np.array(numbers, dtype=np.float32), 40).reshape(-1, 1)
    truths = np.repeat(np.arange(8) % 2, 40)
    model = lgb(min_child_samples=5, min_data_in_bin=1).fit(rows, truths)
    assert (model.predict(rows) == truths).all()
    found = packaged(model, (rows, truths, rows, truths), tmp_path)
    assert found.right == len(rows)


REFUSED = {
    "untrained xgboost": (xgb(), None, "this XGBClassifier is not trained; call fit"),
    "untrained lightgbm": (lgb(), None, "this LGBMClassifier is not trained; call fit"),
    "untrained catboost": (catboost.CatBoostClassifier(), None, "this CatBoostClassifier is not trained; call fit"),
    "missing number": (xgb(missing=-1.0), BINARY, r"takes -1 for a missing number, .* train with missing=numpy.nan"),
    "dart": (xgb(booster="dart"), BINARY, "booster dart has no conversion; train with booster='gbtree'"),
    "linear": (xgb(booster="gblinear"), BINARY, "booster gblinear has no conversion"),
    "logistic values": (
        xgb_values(objective="reg:logistic"),
        (BINARY[0], BINARY[1] * 1.0, *BINARY[2:]),
        "objective reg:logistic has no conversion that gives its answers; expected binary:logistic",
    ),
    "forest": (xgboost.XGBRFClassifier(n_estimators=5), MANY, "num_parallel_tree above 1.* RandomForestClassifier"),
    "several numbers": (xgb_values(), (VALUES[0], np.column_stack([VALUES[1]] * 2)), "expected one number per row"),
    "sigmoid": (lgb(sigmoid=2.0), BINARY, "a sigmoid other than 1; leave that parameter out"),
    "random forest": (lgb(boosting_type="rf", subsample=0.5, subsample_freq=1), BINARY, "boosting rf, a random forest"),
    "linear trees": (lgb(linear_tree=True), BINARY, "linear_tree; train without it"),
    "zero as missing": (lgb(zero_as_missing=True), BINARY, "zero_as_missing; train without it, and with NaN"),
    "one versus all": (lgb(objective="multiclassova"), MANY, "objective multiclassova; expected binary, multiclass"),
    "square root": (lgb_values(reg_sqrt=True), VALUES, "reg_sqrt; train on the square root"),
    "other trees": (
        catboost.CatBoostClassifier(grow_policy="Lossguide", **QUIET),
        MANY,
        "grow_policy Lossguide; train with grow_policy='SymmetricTree'",
    ),
    "two losses": (
        catboost.CatBoostRegressor(loss_function="RMSEWithUncertainty", **QUIET),
        VALUES,
        "loss RMSEWithUncertainty gives several numbers per row",
    ),
    "catboost as a step": (
        make_pipeline(StandardScaler(), catboost.CatBoostClassifier(**QUIET)),
        MANY,
        "CatBoost has no conversion as a step of a pipeline",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_model_whose_conversion_would_answer_otherwise_is_refused_by_name(tmp_path, name):
    model, data, message = REFUSED[name]
    if data is not None:
        model.fit(data[0], data[1])
    with pytest.raises(errors.Refused, match=message):
        packaged(model, data if data is not None and len(data) == 4 else BINARY, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("framework", ["xgboost", "lightgbm", "catboost"])
def test_categories_are_refused_with_what_to_do(tmp_path, framework):
    table = pd.DataFrame(
        {"colour": pd.Categorical(["red", "green"] * 100), "size": np.arange(200.0), "weight": np.arange(200.0) % 7}
    )
    truths = np.array([0, 1] * 100)
    if framework == "xgboost":
        model = xgb(enable_categorical=True).fit(table, truths)
    elif framework == "lightgbm":
        model = lgb().fit(table, truths)
    else:
        model = catboost.CatBoostClassifier(cat_features=["colour"], **QUIET).fit(table.astype({"colour": str}), truths)
    with pytest.raises(errors.Refused, match=r"encode them as numbers"):
        packaged(model, BINARY, tmp_path)


def test_missing_numbers_are_refused_where_the_model_does_not_take_them(tmp_path):
    data = with_gaps(BINARY)
    model = LinearRegression().fit(BINARY[0], BINARY[1] * 1.0)
    with pytest.raises(errors.Refused, match=r"\d+ rows of 'row' have missing numbers \(NaN\).*SimpleImputer"):
        packaged(model, data, tmp_path)


def test_conversion_that_sends_missing_numbers_another_way_is_told_by_them(tmp_path):
    """The pipeline's scaler passes NaN on, so only the tree's way of missing numbers can differ: it is turned around."""
    data = with_gaps(BINARY)
    model = frameworks.of(xgb().fit(data[0], data[1]))
    converted = conversion.convert(model, input_name="row", rows=data[2])
    turned = onnx.load_from_string(converted.onnx)
    for node in turned.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_missing_value_tracks_true":
                attribute.ints[:] = [int(not value) for value in attribute.ints]
    wrong = conversion.Converted(
        turned.SerializeToString(), "row", converted.output_names, converted.classes, "classification"
    )
    missing = np.isnan(data[2]).any(axis=1)
    found = comparing.compare(model.answers(data[2]), conversion.converted_answers(wrong, data[2]), missing=missing)
    assert "every one of them has missing numbers (NaN)" in found.trouble()


def test_numbers_too_close_for_32_bits_are_found_by_the_comparison(tmp_path):
    seconds = 1_760_000_000 + np.arange(400, dtype=np.float64).reshape(-1, 1) % 120
    late = (seconds[:, 0] % 120 >= 60).astype(np.int64)
    model = lgb().fit(seconds, late)
    with pytest.raises(errors.Refused, match=r"answers \d+ of 400 rows differently .*train on numpy.float32 values"):
        packaged(model, (seconds, late, seconds, late), tmp_path)


def test_tree_behind_a_scaler_is_told_to_do_without(tmp_path):
    model = make_pipeline(StandardScaler(), xgb_values()).fit(VALUES[0], VALUES[1])
    with pytest.raises(errors.Refused, match=r"other values on \d+ of 221 rows .*leave scalers out, trees need none"):
        packaged(model, VALUES, tmp_path)


def test_values_off_by_more_than_rounding_are_found():
    said = conversion.trained.Answers(None, np.array([[1.0], [2.0], [3.0]]))
    again = conversion.trained.Answers(None, np.array([[1.0], [2.001], [float("nan")]]))
    found = comparing.compare(said, again)
    assert found.scores_off == (1, 2)
    assert "gives other values on 2 of 3 rows (first: row 1" in found.trouble()


def test_model_of_no_known_framework_is_refused(tmp_path):
    with pytest.raises(
        errors.Refused, match=r"expected a trained model of scikit-learn, XGBoost, .* got builtins.dict"
    ):
        packaged({"weights": [1]}, BINARY, tmp_path)
