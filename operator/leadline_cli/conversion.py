"""Finish a converted model in the form that the runtime serves, whatever framework it came from.

Input as the test set names it, FP32 with a free first dimension; outputs `label` and `probabilities` (or `scores` where
the numbers are no probabilities), or `value` of a regression. The metadata says what the task is, which classes there are
and which output is the prediction; whatever else a converter left in the file (paths, parameters, times) is dropped. Next
step: `comparing` proves that the answers stayed the same.

Must not decide whether a difference matters.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from leadline_cli import errors, trained

_BATCH_ROWS: Final = 1024
_OPSET: Final = 18
"""For nodes of ours, where the converter used none of the standard operators."""
_IR_VERSION: Final = 8
"""Of onnxruntime 1.14; some converters write older ones, which do not go with that opset."""
_PROBE_ROWS: Final = 2


@dataclass(frozen=True, slots=True)
class Converted:
    """A model as ONNX."""

    onnx: bytes
    input_name: str
    output_names: tuple[str, ...]
    """Label and scores, or only the label; of a regression the value."""
    classes: tuple[int | str, ...]
    task: trained.Task


def convert(model: trained.Trained, *, input_name: str, rows: npt.NDArray[Any]) -> Converted:
    """Convert a trained model.

    Args:
        model: The model.
        input_name: Name of the model's input.
        rows: Some that it can answer, shape (n, ...).

    Raises:
        Refused: It takes another number of inputs, or it has no conversion.
    """
    width = int(np.prod(rows.shape[1:]))
    if model.width not in {None, width}:
        raise errors.Refused(
            f"test set: column {input_name!r} has {width} numbers per row, the model takes {model.width}"
        )
    if input_name in {trained.LABEL, trained.VALUE, "probabilities", "scores"}:
        raise errors.Refused(f"input: {input_name!r} is the name of an output; choose another one")
    found = model.to_onnx(input_name, rows)
    names = (trained.LABEL, model.scores_name) if model.task == "classification" else (trained.VALUE,)
    _name_input(found.graph, input_name, [None, *rows.shape[1:]])
    outputs = _name_outputs(found.graph, names)
    if model.task == "classification" and model.classes != tuple(range(len(model.classes))):
        _say_classes(found.graph, outputs, model.classes)
    _clean(found)
    facts = {"task": model.task, "prediction": outputs[0]}
    if model.classes:
        facts["classes"] = json.dumps(model.classes)
    for key in ("task", "classes", "prediction"):
        if key in facts:
            entry = found.metadata_props.add()
            entry.key, entry.value = f"leadline.{key}", facts[key]
    _state_shapes(found, input_name, rows)
    data = found.SerializeToString(deterministic=True)
    return Converted(data, input_name, outputs, model.classes, model.task)


def converted_answers(converted: Converted, rows: npt.NDArray[Any]) -> trained.Answers:
    """Return what the converted model says, run as the runtime runs it.

    Raises:
        Refused: onnxruntime cannot load or run it.
    """
    session = _session(converted.onnx)
    names = list(converted.output_names)
    parts = [_run(session, names, converted.input_name, rows[at : at + _BATCH_ROWS]) for at in _starts(rows)]
    label, *scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    if converted.task == "regression":
        return trained.Answers(None, trained.one_column(label))
    return trained.Answers(label.reshape(len(rows)), trained.two_sided(scores[0]) if scores else None)


def _starts(rows: npt.NDArray[Any]) -> range:
    return range(0, len(rows), _BATCH_ROWS)


def _session(data: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # What it warns of is what converters declare and do not keep; `_state_shapes` puts it right.
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no root of their own
        raise _does_not_run(error) from error


def _run(session: Any, names: list[str], input_name: str, rows: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    try:
        return list(session.run(names, {input_name: np.ascontiguousarray(rows, dtype=np.float32)}))
    except Exception as error:  # as above
        raise _does_not_run(error) from error


def _does_not_run(error: Exception) -> errors.Refused:
    return errors.Refused(f"the converted model does not run in onnxruntime: {trained.first_line(error)}")


def _name_input(graph: Any, name: str, shape: list[int | None]) -> None:
    known = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in known]
    if len(inputs) != 1:
        raise errors.Refused(f"model: expected one input, got {len(inputs)}: {', '.join(each.name for each in inputs)}")
    _rename(graph, {inputs[0].name: name})
    inputs[0].CopyFrom(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))


def _name_outputs(graph: Any, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Give the outputs the names that users see, wherever they are used, and return them."""
    outputs = list(graph.output)[: len(wanted)]
    names = {output.name: name for output, name in zip(outputs, wanted, strict=False)}
    _rename(graph, names)
    for output in outputs:
        output.name = names[output.name]
    return tuple(output.name for output in outputs)


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Rename tensors wherever they are used, branches and loops included."""
    for node in graph.node:
        for ends in (node.input, node.output):
            for place, name in enumerate(ends):
                ends[place] = names.get(name, name)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, names)


def _say_classes(graph: Any, outputs: tuple[str, ...], classes: tuple[int | str, ...]) -> None:
    """Let the label be a class by its name where the converter gives its place."""
    label = next(each for each in graph.output if each.name == outputs[0])
    names = np.array(classes, dtype=object if isinstance(classes[0], str) else np.int64)
    kind = label.type.tensor_type.elem_type
    attributes = {attribute.name: attribute for node in graph.node for attribute in node.attribute}
    key = "classlabels_strings" if isinstance(classes[0], str) else "classlabels_int64s"
    said = attributes.get(key) or attributes.get(key.replace("int64s", "ints"))
    wanted = onnx.TensorProto.STRING if isinstance(classes[0], str) else onnx.TensorProto.INT64
    if kind == wanted and (said is None or _listed(said) == classes):
        return  # the converter knows them
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == outputs[0]:
                node.output[place] = "leadline_place_given"
    graph.initializer.append(onnx.numpy_helper.from_array(names, "leadline_classes"))
    graph.node.append(onnx.helper.make_node("ArgMax", [outputs[1]], ["leadline_place"], axis=1, keepdims=0))
    graph.node.append(onnx.helper.make_node("Gather", ["leadline_classes", "leadline_place"], [outputs[0]], axis=0))
    label.CopyFrom(onnx.helper.make_tensor_value_info(outputs[0], wanted, [None]))


def _listed(attribute: Any) -> tuple[int | str, ...]:
    return tuple(each.decode() for each in attribute.strings) or tuple(attribute.ints)


def _clean(model: Any) -> None:
    """Drop what is not the model, and make its bytes the same each time: that is what makes a digest mean something."""
    del model.metadata_props[:]
    model.graph.name = "model"  # onnxmltools draws one at random
    del model.graph.value_info[:]  # of tensors inside, which onnxruntime finds out by itself
    model.doc_string = ""
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in model.functions:
        for part in (function, *function.node):
            del part.metadata_props[:]
            part.doc_string = ""
    model.ir_version = max(model.ir_version, _IR_VERSION)
    # skl2onnx lists the operator sets in the order of a set of strings, sometimes twice.
    versions = {entry.domain: entry.version for entry in model.opset_import}
    versions.setdefault("", _OPSET)
    del model.opset_import[:]
    for domain in sorted(versions):
        model.opset_import.add(domain=domain, version=versions[domain])


def _state_shapes(model: Any, input_name: str, rows: npt.NDArray[Any]) -> None:
    """Let the outputs have the shapes that they have: some converters declare others."""
    session = _session(model.SerializeToString())
    names = [each.name for each in model.graph.output]
    for name, array in zip(names, _run(session, names, input_name, rows[:_PROBE_ROWS]), strict=True):
        output = next(each for each in model.graph.output if each.name == name)
        declared = [each.dim_param or each.dim_value or None for each in output.type.tensor_type.shape.dim]
        shape = [None, *array.shape[1:]]
        if declared != shape:
            element = output.type.tensor_type.elem_type
            output.CopyFrom(onnx.helper.make_tensor_value_info(name, element, shape))
