"""Names of classes that a file's own nodes hold are its classes' names: tables behind the scores, in the forms that exporters write, generated.

Right losses come from numpy and ONNX Runtime, with the labels that the file itself gives to its scores.
"""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import Bundle
from onnx import TensorProto, helper
from test_left_out import CLASSES, ML, PIXELS, Net, run, softmax

# In another order than sorted.
NAMES = ["kite", "apple", "moss", "bell", "crow"]
CODES = [40, 7, 33, 12, 21]


def zip_map(net, words):
    net.add("Softmax", ["z"], "p", axis=1)
    net.add("ZipMap", ["p"], "table", domain=ML, **({"classlabels_strings": NAMES} if words else {"classlabels_int64s": CODES}))
    mapped(net, "table", TensorProto.STRING if words else TensorProto.INT64)


def mapped(net, name, key):
    element = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    net.outputs.append(helper.make_value_info(name, helper.make_sequence_type_proto(element)))


def likeliest(net):
    return net.add("ArgMax", ["z"], "label", axis=1, keepdims=0)


def gathered(net, words):
    """Behind a softmax, with the label in another shape and type."""
    net.add("Softmax", ["z"], "p", axis=1)
    net.add("ArgMax", ["p"], "at", axis=1, keepdims=1)
    net.add("Cast", ["at"], "small", to=TensorProto.INT32)
    net.add("Squeeze", ["small", net.constant("axes", np.array([1]))], "label")
    net.add("Gather", [net.constant("names", np.array(NAMES, object) if words else np.array(CODES)), "label"], "name")
    net.output("name", TensorProto.STRING if words else TensorProto.INT64, ("N",))


def held_in_a_node(net, words):
    held = {"value_strings": NAMES} if words else {"value_ints": CODES}
    net.add("Constant", [], "names", **held)
    net.add("Gather", ["names", likeliest(net)], "name")
    net.output("name", TensorProto.STRING if words else TensorProto.INT64, ("N",))


def first_of_the_likeliest(net, words):
    net.add("TopK", ["z", net.constant("k", np.array([2]))], "values", "indices")
    net.add("Slice", ["indices", net.constant("from", np.array([0])), net.constant("to", np.array([1])), net.constant("axes", np.array([1]))], "label")
    net.add("Gather", [net.constant("names", np.array(NAMES, object) if words else np.array(CODES)), "label"], "name")
    net.output("name", TensorProto.STRING if words else TensorProto.INT64, ("N", 1))


def extracted(net, words):
    net.add("ArgMax", ["z"], "label", axis=1, keepdims=1)
    net.add("ArrayFeatureExtractor", [net.constant("names", np.array(NAMES, object) if words else np.array(CODES)), "label"], "row", domain=ML)
    net.add("Reshape", ["row", net.constant("flat", np.array([-1]))], "name")
    net.output("name", TensorProto.STRING if words else TensorProto.INT64, ("N",))


def encoded(net, words):
    """Keys in an order of their own."""
    keys = [3, 0, 4, 1, 2]
    values = {"values_strings": [NAMES[k] for k in keys]} if words else {"values_int64s": [CODES[k] for k in keys]}
    net.add("LabelEncoder", [likeliest(net)], "name", domain=ML, keys_int64s=keys, **values)
    net.output("name", TensorProto.STRING if words else TensorProto.INT64, ("N",))


TABLES = [zip_map, gathered, held_in_a_node, first_of_the_likeliest, extracted, encoded]


def images(folder, names):
    """Folders called by these names, and the images with their folder's place among them."""
    rng, found = np.random.default_rng(4), []
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for k in range(2):
            pixels = rng.integers(0, 256, (2, 2, 3), np.uint8)
            (folder / name / f"{k}.ppm").write_bytes(b"P6 2 2 255\n" + pixels.tobytes())
            found.append((place, ((pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).transpose(2, 0, 1)))
    return found


def saved(net, folder, **metadata):
    model = net.model()
    helper.set_model_props(model, metadata)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def kept(folder, *options):
    """The classes of the model's training with its own classifier, or what the refusal says."""
    done = run("rewrite", folder / "model.onnx", "-o", folder / "bundle", "--penalty", "none", "--force", "--head", "keep", *options)
    return Bundle(folder / "bundle").manifest.get("classes", []) if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("words", [True, False], ids=["words", "numbers"])
@pytest.mark.parametrize("table", TABLES, ids=lambda f: f.__name__)
def test_the_file_names_its_classes(table, words, tmp_path):
    net = Net()
    net.output("z")
    table(net, words)
    model, names = saved(net, tmp_path), NAMES if words else [str(code) for code in CODES]
    assert kept(tmp_path) == names
    seen = images(tmp_path / "data", names)
    x = np.array([image.reshape(-1) for _, image in seen])
    p = softmax(x @ net.weight.astype(np.float64) + net.bias)
    expected = -np.log(p[np.arange(len(seen)), [label for label, _ in seen]]).mean()
    done = run("eval", model, "--data", tmp_path / "data", "--output", "z", *PIXELS, "--json")
    assert done.returncode == 0 and "assumed" not in done.stderr, done.stderr
    assert abs(json.loads(done.stdout)["loss"] - expected) < 1e-5
    # A training keeps the labels, and what is exported agrees with itself.
    done = run("finetune", model, "--data", tmp_path / "data", "--head", "keep", "--steps", 2, "--val-split", 0.5, "--batch", 4, *PIXELS, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert run("export", tmp_path / "run", "-o", tmp_path / "tuned.onnx").returncode == 0
    said = {p.key: p.value for p in onnx.load(tmp_path / "tuned.onnx").metadata_props}
    assert json.loads(said["spgraph.classes"]) == names
    session = onnxruntime.InferenceSession(tmp_path / "tuned.onnx", providers=["CPUExecutionProvider"])
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x.reshape(-1, 3, 2, 2).astype(np.float32)})))
    found = [max(row, key=row.get) for row in outputs["table"]] if table is zip_map else outputs["name"].reshape(-1).tolist()
    assert [str(name) for name in found] == [names[label] for label in outputs["z"].argmax(1)]


def test_folders_that_the_table_does_not_know_are_refused(tmp_path):
    net = Net()
    net.output("z")
    gathered(net, True)
    model = saved(net, tmp_path)
    images(tmp_path / "data", ["a", "b", "c", "d", "e"])
    for command in (["eval", model, "--data", tmp_path / "data", "--output", "z", *PIXELS], ["finetune", model, "--data", tmp_path / "data", "--head", "keep", "-o", tmp_path / "run"]):
        done = run(*command)
        assert done.returncode == 1 and "does not know" in done.stderr and "--class-names" in done.stderr, done.stderr


def test_tables_that_disagree_or_do_not_fit_are_refused_until_names_are_given(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join("vwxyz"))
    cases = []
    # Another table.
    net = Net()
    gathered(net, True)
    net.add("LabelEncoder", ["label"], "other", domain=ML, keys_int64s=list(range(CLASSES)), values_strings=list("abcde"))
    net.output("other", TensorProto.STRING, ("N",))
    cases.append((net, {}, "name different classes"))
    # The metadata.
    net = Net()
    gathered(net, True)
    cases.append((net, {"names": str(list("abcde"))}, "its metadata `names` and its node `node 6` (Gather) name different classes"))
    # Another number of names.
    net = Net()
    net.add("LabelEncoder", [likeliest(net)], "name", domain=ML, keys_int64s=list(range(4)), values_strings=NAMES[:4])
    net.output("name", TensorProto.STRING, ("N",))
    cases.append((net, {}, "names 4 classes, and its network has 5"))
    # By keys that are no labels.
    net = Net()
    net.add("LabelEncoder", [likeliest(net)], "name", domain=ML, keys_int64s=[1, 2, 3, 4, 5], values_strings=NAMES)
    net.output("name", TensorProto.STRING, ("N",))
    cases.append((net, {}, "its output `name` names them in a way that spgraph does not read"))
    # By labels that are exchanged first.
    net = Net()
    net.add("Gather", [net.constant("exchange", np.array([1, 2, 3, 4, 0])), likeliest(net)], "exchanged")
    net.add("Gather", [net.constant("names", np.array(NAMES, object)), "exchanged"], "name")
    net.output("name", TensorProto.STRING, ("N",))
    cases.append((net, {}, "does not read"))
    # By the lowest score.
    net = Net()
    net.add("ArgMin", ["z"], "label", axis=1, keepdims=0)
    net.add("Gather", [net.constant("names", np.array(NAMES, object)), "label"], "name")
    net.output("name", TensorProto.STRING, ("N",))
    cases.append((net, {}, "does not read"))
    for net, metadata, why in cases:
        net.output("z")
        saved(net, tmp_path, **metadata)
        said = kept(tmp_path, "--output", "z")
        assert isinstance(said, str) and why in said and "--class-names" in said, (why, said)
        assert kept(tmp_path, "--output", "z", "--class-names", tmp_path / "names.txt") == list("vwxyz")


def test_numbers_that_only_count_name_nothing(tmp_path):
    net = Net()
    net.output("z")
    net.add("Softmax", ["z"], "p", axis=1)
    net.add("ZipMap", ["p"], "table", domain=ML, classlabels_int64s=list(range(CLASSES)))
    mapped(net, "table", TensorProto.INT64)
    # Groups of several classes.
    net.add("Gather", [net.constant("groups", np.array([0, 0, 1, 1, 2])), likeliest(net)], "group")
    net.output("group", TensorProto.INT64, ("N",))
    saved(net, tmp_path)
    assert kept(tmp_path) == []


def test_the_names_of_another_classifier_are_not_taken(tmp_path):
    net = Net()
    net.output("z")
    net.add("Gemm", ["features", net.constant("w2", np.ones((12, CLASSES), np.float32))], "other")
    net.output("other")
    net.add("ArgMax", ["other"], "label", axis=1, keepdims=0)
    net.add("Gather", [net.constant("names", np.array(NAMES, object)), "label"], "name")
    net.output("name", TensorProto.STRING, ("N",))
    saved(net, tmp_path)
    assert kept(tmp_path, "--output", "z") == []
    assert kept(tmp_path, "--output", "other") == NAMES


def test_a_new_classifier_has_names_of_its_own(tmp_path):
    net = Net()
    net.output("z")
    gathered(net, True)
    model = saved(net, tmp_path)
    images(tmp_path / "data", ["a", "b", "c"])
    done = run("finetune", model, "--data", tmp_path / "data", "--steps", 2, "--val-split", 0.5, "--batch", 4, *PIXELS, "-o", tmp_path / "run")
    assert done.returncode == 0 and "left out" in done.stdout + done.stderr, done.stdout + done.stderr
