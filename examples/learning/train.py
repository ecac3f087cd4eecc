"""Learn how long flights are in the air: the first models from a month of them, later ones from outcomes, in a Job.

As a program this is what `spec.retrain.jobTemplate` runs: it reads the outcomes' train split from the ledger, with their inputs,
learns from the newest of them, puts the model into the store and says where it is.
"""

import hashlib
import io
import json
import os
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.store import S3Store
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NAMES: Final = ["origin", "dest", "carrier"]
NUMBERS: Final = ["distance", "hour"]
BUCKET: Final = "models"
NEWEST: Final = 2_000
"""Outcomes that a model learns from: older ones tell of winds that have turned."""
LEAST: Final = 500
_CALL_SECONDS: Final = 60.0


def learn(rows: Any, minutes: Any) -> Pipeline:
    """Fit a model.

    Args:
        rows: A pandas-like frame with the columns of `NAMES` and `NUMBERS`.
        minutes: What came true, one a row.
    """
    prepared = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), NAMES), (StandardScaler(), NUMBERS), verbose_feature_names_out=False
    )
    return make_pipeline(prepared, Ridge(1.0)).fit(rows, minutes)


def to_onnx(model: Pipeline) -> bytes:
    """Convert a model: one input of shape [rows, 1] for each column, output `minutes`."""
    kinds = [(name, StringTensorType([None, 1])) for name in NAMES]
    kinds += [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    converted = convert_sklearn(model, "flights", kinds, final_types=[("minutes", FloatTensorType([None, 1]))])
    for key, value in (("leadline.task", "regression"), ("leadline.prediction", "minutes")):
        converted.metadata_props.add(key=key, value=value)
    return bytes(converted.SerializeToString())


def outcomes(url: str, token_file: Path) -> pa.Table:
    """Read the train side of all outcomes, with their inputs, from the ledger."""
    tables, after, timeline = [], "0", ""
    while True:
        query = urllib.parse.urlencode({"format": "parquet", "inputs": "true", "after": after, "timeline": timeline})
        # The ledger's URL, from the operator; the side is in it. The token is read anew, for it is exchanged.
        request = urllib.request.Request(f"{url}&{query}")
        request.add_header("authorization", f"Bearer {token_file.read_text().strip()}")
        with urllib.request.urlopen(request, timeout=_CALL_SECONDS) as answer:
            tables.append(pq.read_table(io.BytesIO(answer.read())))
            after, timeline = answer.headers["leadline-cursor"], answer.headers["leadline-timeline"]
            if answer.headers["leadline-more"] != "true":
                return pa.concat_tables(tables, promote_options="permissive")


def main() -> None:
    """Retrain: outcomes in, a model in the store and its digest out."""
    told = outcomes(os.environ["LEADLINE_OUTCOMES_URL"], Path(os.environ["LEADLINE_LEDGER_TOKEN_FILE"]))
    frame = told.to_pandas()
    if "input.dest" not in frame:
        sys.exit(f"train: {len(frame)} outcomes, none with inputs; is spec.outcomes.capture set, and since when?")
    frame = frame[frame.truth.notna() & ~frame.repeats & frame["input.dest"].notna()].tail(NEWEST)
    if len(frame) < LEAST:
        sys.exit(f"train: {len(frame)} outcomes with inputs, expected at least {LEAST}")
    rows = frame.rename(columns=lambda name: name.removeprefix("input."))[NAMES + NUMBERS]
    rows = rows.map(lambda cell: cell[0] if isinstance(cell, list | np.ndarray) else cell)
    model = to_onnx(learn(rows, frame.truth))
    key = f"flights/{os.environ['LEADLINE_RETRAIN_ID']}-{os.environ['LEADLINE_RETRAIN_ATTEMPT']}/model.onnx"
    obstore.put(S3Store(BUCKET), key, model)  # AWS_* come from the Secret
    product = {
        "uri": f"s3://{BUCKET}/{key}",
        "digest": f"sha256:{hashlib.sha256(model).hexdigest()}",
        "notes": f"the newest {len(frame)} outcomes; {os.environ['LEADLINE_RETRAIN_REASON']}"[:512],
    }
    Path(os.environ.get("PRODUCT", "/dev/termination-log")).write_text(json.dumps(product))
    print(product["notes"])


if __name__ == "__main__":
    main()
