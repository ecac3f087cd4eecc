"""The command line is kind's, as far as it goes; what pytest-kind calls is taken as it calls it."""

import pytest
from localkind import arguments, errors


def parse(line):
    return arguments.parser().parse_args(line.split())


@pytest.mark.parametrize(
    ("line", "action", "expected"),
    [
        ("get clusters", "get clusters", {}),
        (
            "create cluster --name=a --kubeconfig=/k --image=i --config c",
            "create cluster",
            {"name": "a", "kubeconfig": "/k"},
        ),
        ("create cluster -n a --wait 1m30s", "create cluster", {"name": "a", "wait": 90.0}),
        ("load docker-image --name a x:1", "load docker-image", {"name": "a", "images": ["x:1"]}),
        ("load image-archive x.tar y.tar -n a", "load image-archive", {"images": ["x.tar", "y.tar"]}),
        ("delete cluster --name=a --kubeconfig=/k", "delete cluster", {"name": "a", "kubeconfig": "/k"}),
        ("export kubeconfig --name a --kubeconfig /k", "export kubeconfig", {"kubeconfig": "/k"}),
        ("get kubeconfig --internal", "get kubeconfig", {"name": "kind"}),
        ("get nodes", "get nodes", {"name": "kind"}),
        ("export logs there", "export logs", {"folder": "there"}),
        ("version", "version", {}),
    ],
)
def test_command_of_kind_is_understood(line, action, expected):
    options = vars(parse(line))
    assert options["action"] == action
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("get pods", "invalid choice: 'pods'"),
        ("load docker-image", "the following arguments are required: IMAGE"),
        ("create cluster --wait soon", "invalid parse_duration value: 'soon'"),
        ("create cluster --nodes 3", "unrecognized arguments: --nodes 3"),
    ],
)
def test_other_command_is_one_line_that_names_what_is_wrong(line, said):
    with pytest.raises(errors.NeedsUser) as raised:
        parse(line)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90s", 90), ("2m", 120), ("1h2m3s", 3723), ("500ms", 0.5), ("1.5m", 90)]
)
def test_duration_is_in_seconds(text, seconds):
    assert arguments.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "1x", "m", "1s2", "-1s"])
def test_other_text_is_no_duration(text):
    with pytest.raises(ValueError, match="expected a duration"):
        arguments.parse_duration(text)
