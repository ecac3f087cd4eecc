"""What the environment may say, and what a mistake is answered with."""

import pytest
from leadline_runtime import errors, settings

NEEDED = {
    "LEADLINE_MODEL_NAME": "digits",
    "LEADLINE_REVISION": "digits-6c1f02ab9e",
    "LEADLINE_MODEL_URI": "s3://models/digits/2/model.onnx",
}


def test_three_variables_are_enough():
    config = settings.read(NEEDED)
    assert (config.max_rows, config.public_port, config.admin_port, config.own_port) == (64, 8080, 8081, 8082)
    assert str(config.data_dir) == "/var/lib/leadline"


@pytest.mark.parametrize("scheme", ["file", "pvc", "http", "https", "s3", "gs", "az", "oci", "hf"])
def test_every_scheme_that_the_spec_takes_is_taken(scheme):
    uri = f"{scheme}://place/model.onnx"
    assert settings.read({**NEEDED, "LEADLINE_MODEL_URI": uri}).model_uri == uri
    for uri in ("models:/digits@champion", "models:/digits/3"):
        assert settings.read({**NEEDED, "LEADLINE_MODEL_URI": uri}).model_uri == uri


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LEADLINE_MODEL_NAME", "", "LEADLINE_MODEL_NAME: expected letters"),
        ("LEADLINE_REVISION", "a/b", "got 'a/b'"),
        ("LEADLINE_MODEL_URI", "model.onnx", "expected a URI that starts with one of file://"),
        ("LEADLINE_MODEL_URI", "models:digits", "expected a URI that starts with one of file://, pvc://"),
        ("LEADLINE_FETCH_TIMEOUT_SECONDS", "0", "expected seconds"),
        ("LEADLINE_MODEL_URI", "ftp://user:secret@host/m", "got 'ftp'"),
        ("LEADLINE_MODEL_DIGEST", "sha256:abc", "64 hexadecimal digits"),
        ("LEADLINE_LEDGER_URL", "ledger:8080", "expected http(s)://host[:port]"),
        ("LEADLINE_MAX_ROWS", "0", "expected a whole number from 1 to 4096, got '0'"),
        ("LEADLINE_MAX_ROWS", "many", "got 'many'"),
        ("LEADLINE_PUBLIC_PORT", "70000", "from 1 to 65535"),
        ("LEADLINE_HEAD_TIMEOUT_SECONDS", "nan", "expected seconds"),
    ],
)
def test_a_mistake_is_one_line_that_names_variable_value_and_what_was_expected(variable, value, said):
    with pytest.raises(errors.SettingsError) as caught:
        settings.read({**NEEDED, variable: value})
    assert str(caught.value).startswith(variable)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
