"""python -m tfcpn.predict from the command line, with a small network and, compared with an
evaluation, with MediaPipe's."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest

from support.commands import ROOT
from tfcpn import Pose
from tfcpn.data.coco import read_annotations
from tfcpn.evaluation.metrics import coco_metrics, compute_pck


@pytest.fixture
def predict(command, tiny_run, tmp_path):
    def call(*arguments, check=True, model=("--boxes=image",)):
        where = [f"--output={tmp_path / 'out'}", f"--model_dir={tiny_run}"]
        return command("-m", "tfcpn.predict", *where, *model, *arguments, check=check)

    return call


def results(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_a_folder_of_images(predict, people, tmp_path):
    done = predict(people.val, "--csv")
    assert "results.json, 8 files, 8 people" in done.out
    data = results(tmp_path / "out")
    assert {image["file_name"] for image in data["images"]} == {
        path.name for path in people.val.iterdir()
    }
    assert data["categories"][0]["keypoints"][:2] == ["nose", "left_eye"]
    for path in people.val.iterdir():
        drawn, own = cv2.imread(str(tmp_path / "out" / path.name)), cv2.imread(str(path))
        assert drawn.shape == own.shape
    rows = list(csv.DictReader((tmp_path / "out" / "people.csv").open()))
    assert len(rows) == 8 and float(rows[0]["nose_x"]) == data["annotations"][0]["keypoints"][0]


def test_the_same_boxes_give_the_results_of_an_evaluation(
    predict, command, people, tiny_run, tmp_path
):
    """Keypoints, scores and AP are equal to the last digit of the results file."""
    _, annotated, *_ = read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    boxes = [
        {"image_id": p.image_id, "category_id": 1, "bbox": list(p.box), "score": 0.5 + 0.01 * n}
        for n, p in enumerate(shown)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    given = f"--boxes={tmp_path / 'boxes.json'}"
    command("-m", "tfcpn.eval", f"--model_dir={tiny_run}", "--epoch=1", given)
    (folder,) = [path for path in (tiny_run / "eval").iterdir() if "boxes" in path.name]
    expected = json.loads((folder / "results.json").read_text())
    predict(people.val, model=(given,))
    found = results(tmp_path / "out")["annotations"]
    assert len(found) == len(expected) == len(shown)

    def by_person(entries):
        return sorted(
            (e["image_id"], e["score"], e["keypoints"][::3], e["keypoints"][1::3]) for e in entries
        )

    assert by_person(found) == by_person(expected)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert coco_metrics(read_annotations(people.val_annotations), found)["AP"] == metrics["AP"]


def test_a_bad_file_is_reported_and_the_others_are_predicted(predict, people, tmp_path):
    shutil.copytree(people.val, tmp_path / "in")
    names = sorted(path.name for path in (tmp_path / "in").iterdir())
    (tmp_path / "in" / names[2]).write_bytes(b"no image")
    (tmp_path / "in" / "empty.mp4").write_bytes(b"no video")
    failed = predict(tmp_path / "in", check=False)
    assert failed.status == 1
    assert f"error: {tmp_path / 'in' / names[2]}: cannot be read as an image" in failed.err
    assert (
        "empty.mp4: cannot be read as a video" in failed.err
        and "error: 2 files failed" in failed.err
    )
    assert "results.json, 7 files, 7 people" in failed.out
    assert len(results(tmp_path / "out")["images"]) == 7
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == names[:2] + names[3:]


def test_finished_files_are_not_predicted_again(predict, people, tiny_run, tmp_path, monkeypatch):
    """An interrupted command resumes. An image that was changed, or has no drawing any more, is
    predicted again.
    """
    shutil.copytree(people.val, tmp_path / "in")
    names = sorted(path.name for path in (tmp_path / "in").iterdir())
    seen = []
    usual = Pose.__call__

    def watched(self, image, boxes=None):
        if len(seen) == 5 and stop:
            raise KeyboardInterrupt
        seen.append(image.shape)
        return usual(self, image, boxes)

    monkeypatch.setattr(Pose, "__call__", watched)
    stop = True
    interrupted = predict(tmp_path / "in", check=False)
    assert interrupted.status == 130 and len(results(tmp_path / "out")["images"]) >= 1
    done = len(results(tmp_path / "out")["images"])
    stop, seen[:] = False, []
    predict(tmp_path / "in")
    assert len(seen) == 8 - done and len(results(tmp_path / "out")["images"]) == 8
    (tmp_path / "out" / names[0]).unlink()
    cv2.imwrite(str(tmp_path / "in" / names[1]), np.zeros((50, 60, 3), np.uint8))
    seen.clear()
    predict(tmp_path / "in")
    assert len(seen) == 2 and (50, 60, 3) in seen
    seen.clear()
    predict(tmp_path / "in", "--flip_test=no")
    assert len(seen) == 8
    # Other weights under the old name.
    (index,) = tiny_run.glob("checkpoints/epoch_0001/variables.index")
    index.touch()
    seen.clear()
    predict(tmp_path / "in", "--flip_test=no")
    assert len(seen) == 8


def test_a_second_call_keeps_the_people_of_the_first(predict, people, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    names = sorted(path.name for path in people.val.iterdir())
    for folder, some in ((first, names[:3]), (second, names[3:5])):
        folder.mkdir()
        for name in some:
            shutil.copy(people.val / name, folder)
    predict(first, "--csv")
    found = results(tmp_path / "out")
    predict(second, "--csv")
    both = results(tmp_path / "out")
    assert [image["file_name"] for image in both["images"]] == names[:5]
    keypoints = [annotation["keypoints"] for annotation in both["annotations"]]
    assert keypoints[: len(found["annotations"])] == [a["keypoints"] for a in found["annotations"]]
    table = (tmp_path / "out" / "people.csv").read_text()
    assert all(name in table for name in names[:5])
    # With other settings the people of the first call would be lost.
    failed = predict(second, "--flip_test=no", check=False)
    assert failed.status == 1 and "out holds the people of 3 other files" in failed.err
    assert len(results(tmp_path / "out")["images"]) == 5


def test_a_later_checkpoint_does_not_invalidate_results_of_an_earlier_one(
    predict, people, tiny_run, tmp_path, monkeypatch
):
    predict(people.val, "--epoch=1")
    monkeypatch.setattr(Pose, "__call__", lambda *_: pytest.fail("it is done again"))
    later = tiny_run / "checkpoints" / "epoch_0002"
    shutil.copytree(tiny_run / "checkpoints" / "epoch_0001", later)
    try:
        predict(people.val, "--epoch=1")
    finally:
        shutil.rmtree(later)


def test_many_failed_files_are_counted(predict, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.jpg").write_text("no image")
    failed = predict(tmp_path / "in", check=False)
    lines = failed.err.strip().splitlines()
    assert sum(line.startswith("error: ") and "cannot be read" in line for line in lines) >= 5
    assert lines[-1].startswith("error: 5 files failed: ") and lines[-1].endswith(
        "; and 2 more, listed above"
    )


def test_without_drawing_only_results_are_written(predict, people, tmp_path):
    predict(people.val, "--nodraw")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."] == [
        "results.json"
    ]


def test_a_video_keeps_rate_size_and_frames(predict, tmp_path, command):
    command(
        "tools/make_video.py",
        f"--output={tmp_path / 'walk.mp4'}",
        "--seconds=0.6",
        "--width=160",
        "--height=120",
    )
    predict(tmp_path / "walk.mp4")
    data = results(tmp_path / "out")
    assert [image["frame"] for image in data["images"]] == list(range(15))
    video = cv2.VideoCapture(str(tmp_path / "out" / "walk.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    frames = 0
    while (frame := video.read())[0]:
        frames += 1
        assert frame[1].shape == (120, 160, 3)
    assert frames == 15
    predict(tmp_path / "walk.mp4", "--max_frames=4")
    assert len(results(tmp_path / "out")["images"]) == 4


@pytest.mark.parametrize(
    "arguments, printed",
    [
        ([], "expected images, videos, folders"),
        (["no.jpg"], "no.jpg not found"),
        (["IMAGES", "--model=a.tflite"], "expected one of --model, --model_dir and --network"),
        (["IMAGES", "--skeleton=lsp"], "a CPN has the keypoints that it was trained on"),
        (["IMAGES", "--epoch=7"], "epoch_0007 does not exist"),
        (["IMAGES", "--boxes=no.json"], "no.json"),
        (
            ["IMAGES", "--detector=d.onnx"],
            "--detector has no effect here: it is for --boxes=detect",
        ),
        (
            ["IMAGES", "--init_weights=w.tflite"],
            "--init_weights has no effect here: it is for --network=blazepose",
        ),
    ],
)
def test_an_invalid_request_is_reported_in_one_line(predict, people, arguments, printed):
    failed = predict(*[people.val if word == "IMAGES" else word for word in arguments], check=False)
    assert failed.status == 1 and printed in failed.err


def test_boxes_of_images_that_are_not_numbered_are_refused(predict, people, tmp_path):
    shutil.copytree(people.val, tmp_path / "in")
    (tmp_path / "in" / "000000000001.jpg").rename(tmp_path / "in" / "one.jpg")
    (tmp_path / "b.json").write_text("[]")
    failed = predict(tmp_path / "in", check=False, model=(f"--boxes={tmp_path / 'b.json'}",))
    assert failed.status == 1 and "not all names are numbers" in failed.err


def test_a_missing_network_is_reported(command, people, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed = command("-m", "tfcpn.predict", f"--output={tmp_path / 'out'}", people.val, check=False)
    assert failed.status == 1 and "not found; make models" in failed.err


def test_flags_that_would_change_nothing_are_refused(mediapipe, command, people, tmp_path):
    for flag, what in (
        ("--flip_test=yes", "--model_dir or --network=blazepose"),
        ("--epoch=3", "--model_dir"),
    ):
        failed = command(
            "-m", "tfcpn.predict", f"--output={tmp_path / 'out'}", people.val, flag, check=False
        )
        assert failed.status == 1 and f"is for {what}" in failed.err
    failed = command(
        "-m",
        "tfcpn.predict",
        f"--output={tmp_path / 'out'}",
        people.val,
        "--skeleton=cocoo",
        check=False,
    )
    assert failed.status == 1 and "--skeleton=cocoo: expected auto" in failed.err


def test_people_of_a_now_unreadable_file_are_removed(predict, people, tmp_path):
    shutil.copytree(people.val, tmp_path / "in")
    predict(tmp_path / "in")
    (tmp_path / "in" / "000000000003.jpg").write_bytes(b"no image any more")
    failed = predict(tmp_path / "in", check=False)
    assert failed.status == 1 and "results.json, 7 files, 7 people" in failed.out
    assert 3 not in {image["id"] for image in results(tmp_path / "out")["images"]}


def test_failures_to_write_or_warp_are_reported_and_the_others_are_predicted(
    predict, people, tmp_path
):
    shutil.copytree(people.val, tmp_path / "in")
    shutil.copy(tmp_path / "in" / "000000000001.jpg", tmp_path / "in" / ("1" * 248 + ".jpg"))
    cv2.imwrite(str(tmp_path / "in" / "wide.png"), np.zeros((4, 40000, 3), np.uint8))
    failed = predict(tmp_path / "in", check=False)
    assert (
        failed.status == 1
        and "File name too long" in failed.err
        and "a side of 40000 pixels" in failed.err
    )
    assert "results.json, 8 files, 8 people" in failed.out
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 8


def test_names_that_are_not_utf8_are_accepted(predict, people, tmp_path):
    import os

    (tmp_path / "in").mkdir()
    name = os.fsencode(tmp_path / "in") + b"/caf\xe9 %1 #2.jpg"
    shutil.copy(os.fsencode(people.val / "000000000001.jpg"), name)
    predict(tmp_path / "in", "--csv")
    (image,) = results(tmp_path / "out")["images"]
    assert os.fsencode(image["file_name"]) == b"caf\xe9 %1 #2.jpg"
    assert b"caf\\udce9 %1 #2.jpg" in (tmp_path / "out" / "people.csv").read_bytes()


def by_both(mediapipe, command, annotations, images, keypoints, folder):
    """Results of predict and of an evaluation for the boxes of annotated people, with two passes of
    MediaPipe's network, both in the same order, and the metrics of the evaluation.
    """
    _, annotated, *_ = read_annotations(annotations)
    shown = [p for p in annotated if p.trainable]
    boxes = [
        {"image_id": p.image_id, "category_id": 1, "bbox": list(p.box), "score": 0.9} for p in shown
    ]
    (folder / "boxes.json").write_text(json.dumps(boxes))
    given = f"--boxes={folder / 'boxes.json'}"
    how = ["--network=blazepose", f"--init_weights={mediapipe.landmarks}"]
    where = [f"--val_annotations={annotations}", f"--val_images={images}", f"--model_dir={folder}"]
    eval_words = [
        "--epoch=0",
        "--align_source=two_pass",
        "--predict_align_points",
        "--refine_landmarks",
        "--noflip_test",
    ]
    command("-m", "tfcpn.eval", *how, *where, given, *eval_words)
    (printed,) = (folder / "eval").iterdir()
    expected = json.loads((printed / "results.json").read_text())
    image_paths = sorted(
        {images / image.file_name for image in read_annotations(annotations)[0].values()}
    )
    command(
        "-m",
        "tfcpn.predict",
        *how,
        f"--skeleton={keypoints}",
        f"--output={folder / 'out'}",
        given,
        *image_paths,
    )
    found = results(folder / "out")["annotations"]
    assert len(found) == len(expected) == len(shown) > 5
    return (
        sorted(found, key=_place),
        sorted(expected, key=_place),
        json.loads((printed / "metrics.json").read_text()),
    )


@pytest.mark.slow
def test_mediapipes_network_gives_the_results_of_an_evaluation(
    mediapipe, command, people, tmp_path
):
    found, expected, metrics = by_both(
        mediapipe, command, people.val_annotations, people.val, "coco", tmp_path
    )
    for a, b in zip(found, expected):
        # The two croppers differ by a gray level. The effect on the network depends on the
        # processor.
        away = np.abs(np.reshape(a["keypoints"], (-1, 3)) - np.reshape(b["keypoints"], (-1, 3)))[
            :, :2
        ]
        assert np.median(away) < 0.02 and away.max() < 0.2
        assert a["score"] == pytest.approx(b["score"], abs=1e-3)
    assert coco_metrics(read_annotations(people.val_annotations), found)["AP"] == pytest.approx(
        metrics["AP"], abs=1e-3
    )


def _place(entry):
    return entry["image_id"], entry["keypoints"][0]


LSP = ROOT.parent / "shared" / "lsp_extended"


@pytest.mark.slow
@pytest.mark.skipif(not LSP.exists(), reason="no LSP Extended next to the project")
def test_athletes_have_the_results_of_an_evaluation(mediapipe, command, tmp_path):
    """The same PCK, and keypoints at the same positions."""
    file = tmp_path / "people.json"
    some = "--first=8001", "--last=8024"
    command(
        "tools/import_lsp.py",
        f"--images={LSP / 'images'}",
        f"--joints={LSP / 'joints.mat'}",
        f"--output={file}",
        *some,
    )
    # Boxes are assigned by the number in the name of an image.
    data = json.loads(file.read_text())
    (tmp_path / "numbered").mkdir()
    for image in data["images"]:
        numbered = tmp_path / "numbered" / f"{image['id']}.jpg"
        numbered.symlink_to(LSP.resolve() / "images" / image["file_name"])
        image["file_name"] = numbered.name
    file.write_text(json.dumps(data))
    found, expected, _ = by_both(mediapipe, command, file, tmp_path / "numbered", "lsp", tmp_path)
    _, annotated, skeleton, *_ = read_annotations(file)
    truth = {p.image_id: p for p in annotated}
    shares = []
    for entries in (found, expected):
        keypoints = np.array([np.reshape(entry["keypoints"], (-1, 3))[:, :2] for entry in entries])
        of = [truth[entry["image_id"]] for entry in entries]
        shares.append(
            compute_pck(
                keypoints,
                *(np.stack([getattr(p, name) for p in of]) for name in ("keypoints", "box")),
                skeleton=skeleton,
            )
        )
    assert 0.3 < shares[1].mean[0] < 0.95  # difficult poses, but no swapped keypoints
    np.testing.assert_allclose(shares[0].mean, shares[1].mean, atol=2e-3)


SAMPLE = ROOT.parent / "shared" / "coco_sample"


@pytest.mark.skipif(not SAMPLE.exists(), reason="no COCO sample next to the project")
def test_real_people_have_the_results_of_an_evaluation(predict, command, tiny_run, tmp_path):
    annotations = SAMPLE / "annotations" / "person_keypoints_val2017.json"
    given = f"--boxes={SAMPLE / 'person_detections_val2017.json'}"
    where = [f"--val_annotations={annotations}", f"--val_images={SAMPLE / 'val2017'}"]
    command("-m", "tfcpn.eval", f"--model_dir={tiny_run}", "--epoch=1", *where, given)
    (folder,) = [p for p in (tiny_run / "eval").iterdir() if "person_detections" in p.name]
    expected = json.loads((folder / "results.json").read_text())
    predict(SAMPLE / "val2017", model=(given,))
    found = results(tmp_path / "out")["annotations"]

    def by_person(entries):
        return sorted(
            (e["image_id"], e["score"], e["keypoints"][::3], e["keypoints"][1::3]) for e in entries
        )

    assert len(found) == 156 and by_person(found) == by_person(expected)
