"""What the environment may say, what a mistake is answered with, and what the process weighs."""

import json
import subprocess
import sys

import pytest
from leadline_ledger import errors, settings

NEEDED = {
    "LEADLINE_LEDGER_OPERATOR": "system:serviceaccount:leadline-system:leadline",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
}
FOREIGN = {"kopf", "kubernetes", "pydantic", "numpy", "leadline_operator", "leadline_runtime", "leadline_api"}


def test_operator_and_a_pods_own_variables_are_enough():
    config = settings.read(NEEDED)
    assert (config.port, config.api_server) == (8080, "https://10.96.0.1:443")
    assert str(config.folder) == "/var/lib/leadline-ledger"
    assert (config.database_file, config.blobs_uri) == (None, "")


def test_api_server_with_an_ipv6_address_is_put_in_brackets():
    assert settings.read({**NEEDED, "KUBERNETES_SERVICE_HOST": "fd00::1"}).api_server == "https://[fd00::1]:443"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LEADLINE_LEDGER_OPERATOR", "", "expected system:serviceaccount:NAMESPACE:NAME, got ''"),
        ("LEADLINE_LEDGER_OPERATOR", "system:serviceaccount:a", "got 'system:serviceaccount:a'"),
        ("LEADLINE_LEDGER_DIR", "data", "expected an absolute path, got 'data'"),
        ("LEADLINE_LEDGER_PORT", "70000", "from 1 to 65535, got '70000'"),
        ("LEADLINE_LEDGER_BLOB_MAX_BYTES", "1Gi", "expected a whole number"),
        ("LEADLINE_LEDGER_QUEUE_BYTES", "100", "expected a whole number from 8388608"),
        ("LEADLINE_LEDGER_API_SERVER", "ftp://x", "expected http(s)://HOST:PORT"),
        ("LEADLINE_LEDGER_API_SERVER", "https://a/path", "got 'https://a/path'"),
        (
            "LEADLINE_LEDGER_BLOBS_URI",
            "models/leadline",
            "expected s3://BUCKET/PREFIX, or gs, az; got 'models/leadline'",
        ),
        ("LEADLINE_LEDGER_BLOBS_URI", "ftp://models", "got 'ftp://models'"),
        ("LEADLINE_LEDGER_DATABASE_FILE", "dsn", "expected an absolute path, got 'dsn'"),
    ],
)
def test_a_mistake_is_one_line_that_names_variable_value_and_what_was_expected(variable, value, said):
    with pytest.raises(errors.SettingsError) as caught:
        settings.read({**NEEDED, variable: value})
    assert str(caught.value).startswith(variable)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_process_does_not_import_what_it_must_not():
    code = "import json, sys, leadline_ledger.main; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert FOREIGN & set(json.loads(done.stdout)) == set()
