"""Every kind of bad file, given to the command that reads it: a one-line error names it, and
nothing is written.

A case is the arguments of the command, the damage, and the error: file, record, field."""

import json
import re
import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import savemat

from support.commands import ROOT
from support.photos import photo, write
from support.small_run import flags
from support.tiny import tiny
from tfcpn import builders


@pytest.fixture(scope="module")
def trained(people, command, tmp_path_factory):
    """A run of the tiny network with one checkpoint, and an evaluation."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(builders.NETWORK_BUILDERS, "cpn", tiny)
        command(
            "-m",
            "tfcpn.train",
            *flags(people, folder, "--epochs=1", "--epoch_size=16", "--eval_every=1"),
        )
    return folder


@pytest.fixture
def d(people_copy, trained, tmp_path, tiny_network):
    """What a case may damage: the data, the run, and the path where nothing may be written."""
    return SimpleNamespace(
        **vars(people_copy),
        run=Path(shutil.copytree(trained, tmp_path / "run")),
        made=tmp_path / "made",
        file=tmp_path / "file",
        people=people_copy,
    )


def edit(path, change):
    data = json.loads(Path(path).read_text())
    change(data)
    Path(path).write_text(json.dumps(data))


# --- Arguments of the commands.


def make_records(d, *more):
    arguments = [
        f"--annotations={d.train_annotations}",
        f"--images={d.train}",
        f"--output={d.made}",
    ]
    return ["tools/make_records.py", *arguments, "--workers=1", "--shards=2", *more]


def strict(d):
    return make_records(d, "--strict")


def evaluate(d, *more):
    val = [f"--val_annotations={d.val_annotations}", f"--val_images={d.val}"]
    return ["-m", "tfcpn.eval", f"--model_dir={d.run}", *val, *more]


def detections(d, *more):
    return evaluate(d, f"--boxes={d.file}", *more)


def train(d, *more):
    return ["-m", "tfcpn.train", *flags(d.people, d.made, *more)]


def goes_on(d, *more):
    return [
        "-m",
        "tfcpn.train",
        *flags(d.people, d.run, "--epochs=2", "--epoch_size=16", "--eval_every=1", *more),
    ]


def import_lsp(d):
    return [
        "tools/import_lsp.py",
        f"--images={d.train}",
        f"--joints={d.file}",
        f"--output={d.made}",
    ]


def draw(d):
    arguments = [f"--annotations={d.val_annotations}", f"--images={d.val}", f"--results={d.file}"]
    return ["tools/draw_poses.py", *arguments, f"--output={d.made}.png"]


def blazepose_network(d):
    arguments = [
        f"--val_images={d.val}",
        f"--val_annotations={d.val_annotations}",
        f"--model_dir={d.made}",
    ]
    return [
        "-m",
        "tfcpn.eval",
        "--network=blazepose",
        f"--init_weights={d.file}",
        "--epoch=0",
        *arguments,
    ]


def with_skeleton(d):
    return make_records(d, f"--skeleton={d.file}.json")


# --- Damage.


def person(**values):
    """Change values of the first labeled person of the training annotations."""

    def damage(d):
        edit(
            d.train_annotations,
            lambda data: next(a for a in data["annotations"] if a["num_keypoints"]).update(values),
        )

    return damage


def image(**values):
    return lambda d: edit(d.train_annotations, lambda data: data["images"][0].update(values))


def whole(content):
    return lambda d: d.train_annotations.write_text(
        content if isinstance(content, str) else json.dumps(content)
    )


def keypoints(change):
    def damage(d):
        def apply(data):
            change(next(a for a in data["annotations"] if a["num_keypoints"])["keypoints"])

        edit(d.train_annotations, apply)

    return damage


def no_people(data):
    for record in data["annotations"]:
        record.update(keypoints=[0] * 51, num_keypoints=0)


def first_image(d):
    name = json.loads(d.train_annotations.read_text())["images"][0]["file_name"]
    return d.train / name


def image_bytes(content):
    """Replace the bytes of the first training image by those of a function."""
    return lambda d: first_image(d).write_bytes(content(first_image(d).read_bytes()))


def boxes(**values):
    def damage(d):
        data = json.loads(d.val_annotations.read_text())
        found = [
            {"image_id": a["image_id"], "bbox": a["bbox"], "score": 0.5}
            for a in data["annotations"]
        ]
        found[1].update(values)
        d.file.write_text(json.dumps(found))

    return damage


def results(**values):
    def damage(d):
        found = json.loads(next((d.run / "eval").glob("*/results.json")).read_text())
        found[0].update(values)
        d.file.write_text(json.dumps(found))

    return damage


def content(data):
    return lambda d: d.file.write_bytes(
        data if isinstance(data, bytes) else json.dumps(data).encode()
    )


def keypoints_mat(array):
    return lambda d: savemat(d.file, {"joints": array}, appendmat=False)


def skeleton(**values):
    return lambda d: Path(f"{d.file}.json").write_text(
        json.dumps({"keypoints": ["a", "b"], **values})
    )


def settings(change):
    return lambda d: edit(d.run / "config.json", change)


def shard(change):
    def damage(d):
        path = sorted(d.records.glob("*.tfrecord"))[0]
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)
        edit(d.records / "index.json", lambda index: index["shards"][0].update(bytes=len(data)))

    return damage


def flip(data):
    data[len(data) // 2] ^= 0xFF


def huge_length(data):
    data[:8] = struct.pack("<Q", 2**62)


def damaged_checkpoint(name):
    def damage(d):
        path = next((d.run / "checkpoints/epoch_0001").glob(name))
        path.write_bytes(path.read_bytes()[:-7])

    return damage


def png_of(width, height):
    """The header of a PNG that declares this size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    body = struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + body


FLATBUFFER = b"\x1c\0\0\0TFL3" + bytes(64)
CASES = {
    # Annotations.
    "annotations: no file": (
        make_records,
        lambda d: d.train_annotations.unlink(),
        r"train\.json: cannot be read",
    ),
    "annotations: empty": (make_records, whole(" "), r"train\.json: the file is empty"),
    "annotations: cut off": (
        make_records,
        whole('{"images": ['),
        r"train\.json: not valid JSON .* downloaded",
    ),
    "annotations: deep": (make_records, whole("[" * 100_000), r"train\.json: not valid JSON"),
    "annotations: a list": (make_records, whole([]), r"train\.json: has no list 'images'"),
    "annotations: no images": (
        make_records,
        whole({"annotations": []}),
        r"train\.json: has no list 'images'",
    ),
    "annotations: categories are null": (
        make_records,
        lambda d: edit(d.train_annotations, lambda data: data.update(categories=None)),
        r"train\.json: categories is no list of objects",
    ),
    "annotations: no people": (
        make_records,
        lambda d: edit(d.train_annotations, no_people),
        r"train\.json: no person in it has a labeled keypoint",
    ),
    "image: id": (
        make_records,
        image(id="7"),
        r"train\.json: image id '7': id is '7', expected a whole number",
    ),
    "image: id 2**70": (make_records, image(id=2**70), r"image id 1180591620717411303424: id is"),
    "image: twice": (
        make_records,
        lambda d: edit(
            d.train_annotations,
            lambda data: data["images"].append({**data["images"][0], "file_name": "other.jpg"}),
        ),
        r"train\.json: image id \d+ appears twice",
    ),
    "image: width 0": (
        make_records,
        image(width=-1),
        r"image id \d+: width is -1, expected a positive",
    ),
    "image: height huge": (
        make_records,
        image(height=10**9),
        r"image id \d+: height is 1000000000",
    ),
    "image: no name": (
        make_records,
        image(file_name=""),
        r"image id \d+: file_name is '', expected the name of a file",
    ),
    "image: a name with a zero": (
        make_records,
        image(file_name="a\0b"),
        r"image id \d+: file_name is 'a\\x00b'",
    ),
    "image: leaves the folder": (
        make_records,
        image(file_name="../../etc/passwd"),
        r"image id \d+: file_name is '\.\./\.\./etc/passwd', which leaves the folder of the images",
    ),
    "image: absolute": (
        make_records,
        image(file_name="/etc/passwd"),
        r"image id \d+: file_name .* leaves the folder",
    ),
    "image: leaves by a backslash": (
        make_records,
        image(file_name="..\\x.jpg"),
        r"file_name .* leaves the folder",
    ),
    "person: id": (make_records, person(id=None), r"annotation id None: id is None"),
    "person: an image that is not there": (
        make_records,
        person(image_id=99_999),
        r"annotation id \d+: image_id 99999 is not among the file's images",
    ),
    "person: category": (
        make_records,
        person(category_id=7),
        r"annotation id \d+: category_id is 7",
    ),
    "person: box of three": (
        make_records,
        person(bbox=[1, 2, 3]),
        r"annotation id \d+: bbox is \[1, 2, 3\], expected",
    ),
    "person: inverted box": (
        make_records,
        person(bbox=[9, 9, -5, 5]),
        r"annotation id \d+: bbox is \[9, 9, -5, 5\]",
    ),
    "person: box without area": (
        strict,
        person(bbox=[9, 9, 0, 5]),
        r"--strict: labeled people whose box is missing or has no area: 1",
    ),
    "person: box not finite": (
        make_records,
        person(bbox=[1, 2, 3, float("nan")]),
        r"annotation id \d+: bbox is",
    ),
    "person: too few keypoints": (
        make_records,
        person(keypoints=[0] * 48),
        r"annotation id \d+: keypoints has 48 values",
    ),
    "person: keypoints are text": (
        make_records,
        person(keypoints="x" * 51),
        r"annotation id \d+: keypoints is missing",
    ),
    "person: visibility 3": (
        make_records,
        keypoints(lambda k: k.__setitem__(2, 3)),
        r"annotation id \d+: keypoints has a visibility other than 0, 1, 2",
    ),
    "person: keypoint at infinity": (
        make_records,
        keypoints(lambda k: k.__setitem__(0, float("inf"))),
        r"annotation id \d+: keypoints is missing or holds something that is not a number",
    ),
    "person: wrong count": (
        strict,
        person(num_keypoints=99),
        r"--strict: annotations whose num_keypoints is wrong: 1",
    ),
    "person: area": (
        make_records,
        person(area=-1),
        r"annotation id \d+: area is -1, expected a number of pixels",
    ),
    "person: no area": (
        strict,
        person(area=0),
        r"--strict: annotations without an area: 1",
    ),
    "person: iscrowd": (
        make_records,
        person(iscrowd=2),
        r"annotation id \d+: iscrowd is 2, expected 0 or 1",
    ),
    "person: outline": (
        strict,
        person(segmentation=[[1, 2, 3]]),
        r"--strict: annotations with an unreadable segmentation: 1",
    ),
    # Images.
    "image: missing": (
        make_records,
        lambda d: first_image(d).unlink(),
        r"1 of 24 images are bad, listed in",
    ),
    "image: empty": (make_records, image_bytes(lambda b: b""), r"1 of 24 images are bad"),
    "image: cut off": (
        make_records,
        image_bytes(lambda b: b[: len(b) // 2]),
        r"1 of 24 images are bad",
    ),
    "image: text": (make_records, image_bytes(lambda b: b"no image"), r"1 of 24 images are bad"),
    "image: another size": (make_records, image(width=641), r"1 of 24 images are bad"),
    "image: a bomb": (
        make_records,
        image_bytes(lambda b: png_of(60_000, 60_000)),
        r"1 of 24 images are bad",
    ),
    "image: a GIF": (
        make_records,
        lambda d: first_image(d).write_bytes(write(d.made.with_suffix(".gif"), photo(8, 8))),
        r"1 of 24 images are bad",
    ),
    "images: no folder": (
        make_records,
        lambda d: shutil.rmtree(d.train),
        r"--images=.*train: no such folder",
    ),
    "validation image: missing": (
        evaluate,
        lambda d: next(d.val.iterdir()).unlink(),
        r"val/.*\.jpg: cannot be read \(No such file or directory\); do the images fit",
    ),
    "validation image: another size": (
        evaluate,
        lambda d: edit(d.val_annotations, lambda data: data["images"][0].update(height=7)),
        r"val/.*: is \d+x\d+ pixels, but annotated as \d+x7",
    ),
    # Detections.
    "detections: no file": (detections, lambda d: None, r"/file: cannot be read"),
    "detections: an object": (detections, content({}), r"/file: expected a list of detections"),
    "detections: image": (
        detections,
        boxes(image_id="1"),
        r"/file: detection number 1: image_id is '1'",
    ),
    "detections: box": (detections, boxes(bbox=[1]), r"/file: detection number 1: bbox is \[1\]"),
    "detections: score": (
        detections,
        boxes(score="high"),
        r"/file: detection number 1: score is 'high'",
    ),
    "detections: score not a number": (
        detections,
        boxes(score=float("nan")),
        r"detection number 1: score is nan",
    ),
    "detections: category": (
        detections,
        boxes(category_id=1.5),
        r"detection number 1: category_id is 1\.5",
    ),
    "detections: points": (
        detections,
        boxes(align_points=[1, 2]),
        r"detection number 1: align_points is \[1, 2\]",
    ),
    "detections: of nothing here": (
        detections,
        content([]),
        r"/file: holds no detection of a person",
    ),
    # joints.mat.
    "joints.mat: none": (import_lsp, lambda d: None, r"/file: cannot be read"),
    "joints.mat: text": (
        import_lsp,
        content(b"x" * 999),
        r"/file: not the joints\.mat of Leeds Sports Pose",
    ),
    "joints.mat: cut off": (
        import_lsp,
        lambda d: (
            keypoints_mat(np.zeros((14, 3, 9)))(d),
            d.file.write_bytes(d.file.read_bytes()[:300]),
        ),
        r"/file: (not the joints\.mat|cannot be read)",
    ),
    "joints.mat: shape": (
        import_lsp,
        keypoints_mat(np.zeros((14, 2, 9))),
        r"/file: joints is float64 \(14, 2, 9\), expected",
    ),
    "joints.mat: text within": (
        import_lsp,
        keypoints_mat(np.full((14, 3, 9), "a")),
        r"/file: joints is",
    ),
    "joints.mat: not finite": (
        import_lsp,
        keypoints_mat(np.full((14, 3, 9), np.nan)),
        r"/file: joints has other values",
    ),
    # Records.
    "records: none": (
        lambda d: train(d),
        lambda d: shutil.rmtree(d.records),
        r"records does not exist: make them",
    ),
    "records: no index": (
        train,
        lambda d: (d.records / "index.json").unlink(),
        r"holds no finished records",
    ),
    "records: index": (
        train,
        lambda d: (d.records / "index.json").write_text("{}"),
        r"index\.json: not an index",
    ),
    "records: a shard is gone": (
        train,
        lambda d: next(d.records.glob("*.tfrecord")).unlink(),
        r"\.tfrecord is missing",
    ),
    "records: cut off": (
        train,
        lambda d: (p := sorted(d.records.glob("*.tfrecord"))[0]).write_bytes(p.read_bytes()[:-9]),
        r"\.tfrecord has \d+ bytes, \d+ were written",
    ),
    "records: a bit": (train, shard(flip), r"a record is damaged .*; make it again"),
    "records: a length": (train, shard(huge_length), r"a record is damaged .*; make it again"),
    # Runs.
    "config.json: none": (
        evaluate,
        lambda d: (d.run / "config.json").unlink(),
        r"config\.json not found: .* contains no run",
    ),
    "config.json: not JSON": (
        evaluate,
        lambda d: (d.run / "config.json").write_text("{"),
        r"config\.json: not the config\.json of a run",
    ),
    "config.json: unknown field": (
        evaluate,
        settings(lambda c: c.update(x=1)),
        r"config\.json: not the config\.json",
    ),
    "config.json: wrong type": (
        evaluate,
        settings(lambda c: c.update(seed="a")),
        r"config\.json: not .* \(--seed",
    ),
    "config.json: wrong keypoints": (
        evaluate,
        settings(lambda c: c.update(keypoints=[])),
        r"config\.json: not the",
    ),
    "config.json: another run": (
        goes_on,
        settings(lambda c: c.update(seed=9)),
        r"other settings \(seed: 9 -> 0\)",
    ),
    "checkpoint: cut off, to evaluate": (
        evaluate,
        damaged_checkpoint("*.data*"),
        r"epoch_0001: is damaged",
    ),
    "checkpoint: index, to evaluate": (
        evaluate,
        damaged_checkpoint("*.index"),
        r"epoch_0001: is damaged",
    ),
    "checkpoint: the only one, to resume": (
        goes_on,
        damaged_checkpoint("*.data*"),
        r"all 1 checkpoints are damaged",
    ),
    "checkpoint: not there": (
        lambda d: evaluate(d, "--epoch=7"),
        lambda d: None,
        r"epoch_0007 does not exist; there are epochs 1",
    ),
    "checkpoint: none": (
        lambda d: [
            "tools/convert_checkpoint.py",
            f"--tf1_checkpoint={d.file}",
            f"--model_dir={d.made}",
            "--epoch=1",
        ],
        lambda d: None,
        r"--tf1_checkpoint=.*file not found",
    ),
    "checkpoint: text": (
        lambda d: [
            "tools/convert_checkpoint.py",
            f"--tf1_checkpoint={d.file}",
            f"--model_dir={d.made}",
            "--epoch=1",
        ],
        lambda d: Path(f"{d.file}.index").write_text("x" * 99),
        r"/file: .*(not|cannot|damaged)",
    ),
    # Other files.
    "tflite: none": (blazepose_network, lambda d: None, r"/file not found; make models"),
    "tflite: text": (
        blazepose_network,
        content(b"x" * 99),
        r"/file: is neither a TensorFlow Lite file nor a \.task bundle",
    ),
    "tflite: only the head": (
        blazepose_network,
        content(FLATBUFFER),
        r"/file: is damaged or no network of ours",
    ),
    "flagfile: none": (
        lambda d: ["-m", "tfcpn.train", f"--flagfile={d.file}"],
        lambda d: None,
        r"/file",
    ),
    "flagfile: unknown flag": (
        lambda d: ["-m", "tfcpn.train", f"--flagfile={d.file}"],
        content(b"--learning_rat=1\n"),
        r"--learning_rat: .* has no such flag; did you mean --learning_rate",
    ),
    "flagfile: value": (
        lambda d: ["-m", "tfcpn.train", f"--flagfile={d.file}"],
        content(b"--learning_rate=fast\n"),
        r"learning_rate",
    ),
    "skeleton: none": (with_skeleton, lambda d: None, r"file\.json: cannot be read"),
    "skeleton: keypoint twice": (
        with_skeleton,
        skeleton(keypoints=["a", "a"]),
        r"file\.json: keypoints names one twice",
    ),
    "skeleton: unknown field": (
        with_skeleton,
        skeleton(bones=[]),
        r"file\.json: there is no field 'bones'",
    ),
    "skeleton: unknown keypoint": (
        with_skeleton,
        skeleton(hips=["a", "c"]),
        r"file\.json: hips: there is no keypoint 'c'",
    ),
    "skeleton: sigma": (
        with_skeleton,
        skeleton(sigmas=[0.1, 0]),
        r"file\.json: sigmas is \[0\.1, 0\]",
    ),
    "skeleton: other keypoints": (
        with_skeleton,
        skeleton(),
        r"train\.json: its keypoints are nose, .*; expected those of",
    ),
    "results: no list": (draw, content(3), r"/file: entry number 0 lacks image_id"),
    "results: without score": (
        draw,
        content([{"image_id": 1, "keypoints": []}]),
        r"/file: entry number 0 lacks",
    ),
    "results: keypoints": (
        draw,
        results(keypoints=[1, 2, 3]),
        r"/file: entry number 0: expected 17 keypoints x 3 numbers",
    ),
    "report: nothing there": (
        lambda d: ["tools/report.py", f"--runs={d.train}", f"--output={d.made}"],
        lambda d: None,
        r"--runs=.*train: nothing is evaluated there",
    ),
}


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_reported_in_one_line_and_nothing_is_written(d, command, tmp_path, case):
    given, damage, line = CASES[case]
    damage(d)
    arguments, before = given(d), everything(tmp_path)
    failed = command(*arguments, check=False)
    assert failed.status == 1
    errors = [text for text in failed.err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1 and failed.err.splitlines()[-1] == errors[0], failed.err
    assert re.search(line, errors[0]), errors[0]
    # Except a list of bad images, and the plan that a second try is compared with.
    plan_files = {"made", "made/source.json", "made/bad_images.txt"}
    new = everything(tmp_path) - before
    shards = {
        name
        for name in new
        if re.fullmatch(r"made/\.?people-0000[01]-of-00002\.tfrecord(\.json|\.people\.npz)?", name)
    }
    # A run that finds a damaged record during training has started.
    started = {name for name in new if re.match(r"made/(config\.json$|events)", name)}
    allowed = (
        shards if "images are bad" in line else started if "a record is damaged" in line else set()
    )
    assert new - plan_files - allowed == set()


def test_there_are_at_least_sixty_cases_of_every_kind():
    kinds = {case.split(":")[0] for case in CASES}
    wanted = {"annotations", "image", "detections", "joints.mat", "records", "checkpoint", "tflite"}
    assert len(CASES) >= 60
    assert wanted | {"config.json", "flagfile", "skeleton", "results"} <= kinds


def test_no_program_reads_executable_formats():
    """No pickle, no eval, no yaml: an external file is data."""
    import ast

    dangerous = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "yaml"}
    for path in [*(ROOT / "tfcpn").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = {
                a.name.split(".")[0]
                for a in getattr(node, "names", [])
                if isinstance(node, ast.Import)
            }
            names |= (
                {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
            )
            assert not names & dangerous, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile", "__import__"), path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
                kept = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
                assert kept.get("allow_pickle") is False, path
