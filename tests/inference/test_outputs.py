"""Outputs of prediction: COCO results, a table, and the journal for resuming."""

import csv
import json
from dataclasses import replace
from operator import itemgetter

import numpy as np
import pytest

from support.walking import standing
from tfcpn.data.coco import read_annotations
from tfcpn.inference.batch import Journal, source_fingerprint
from tfcpn.inference.estimator import Person
from tfcpn.inference.outputs import image_ids_from_names, results, to_coco, write_results
from tfcpn.skeleton import COCO
from tfcpn.utils.errors import InputError


def person(x=100.0, track_id=1, missing_keypoints=()) -> Person:
    keypoints, scores = standing(x)[:17].copy(), np.full(17, 0.8, np.float32)
    confidence = np.where(np.arange(17) < 15, 0.8, 0.3)
    (
        keypoints[list(missing_keypoints)],
        scores[list(missing_keypoints)],
        confidence[list(missing_keypoints)],
    ) = np.nan, 0, 0
    return Person(keypoints, scores, confidence, 0.7, np.array([x, 200, 250, 250, 0.5]), track_id)


def write(folder, records, table=False):
    write_results(folder, records, itemgetter("frames"), COCO, table)


def image_record(name, *people):
    return {"name": name, "video": False, "frames": [frame(people)]}


def frame(people, **more):
    return {"height": 400, "width": 640, **more, "people": [to_coco(p) for p in people]}


def test_results_are_an_annotation_file_and_results_of_pycocotools(tmp_path):
    from pycocotools.coco import COCO as RecordIndex

    write(tmp_path, [image_record("a/7.jpg", person(), person(300, 2)), image_record("b/0012.jpg")])
    images, people, skeleton, *_ = read_annotations(tmp_path / "results.json")
    assert sorted(images) == [7, 12] and skeleton == COCO
    assert [p.image_id for p in people] == [7, 7]
    np.testing.assert_allclose(people[0].keypoints[:, :2], standing(100)[:17], atol=1e-3)
    assert people[0].keypoints[:, 2].tolist() == [2] * 15 + [1] * 2
    index = RecordIndex(str(tmp_path / "results.json"))
    own = json.loads((tmp_path / "results.json").read_text())["annotations"]
    assert len(index.loadRes(own).anns) == 2
    assert own[1]["person"] == 2 and own[1]["region"] == [300, 200, 250, 250, 0.5]
    assert not (tmp_path / "people.csv").exists()


def test_keypoints_missing_in_the_network_are_not_labeled(tmp_path):
    write(tmp_path, [image_record("1.jpg", person(missing_keypoints=(0, 5)))], True)
    _, (found,), *_ = read_annotations(tmp_path / "results.json")
    assert found.num_keypoints == 15 and not found.keypoints[[0, 5]].any()
    row = next(csv.DictReader((tmp_path / "people.csv").open()))
    assert row["nose_x"] == "" and row["left_eye_x"] == "106.0" and row["left_eye_score"] == "0.8"
    assert (row["file"], row["frame"], row["person"], row["score"]) == ("1.jpg", "", "1", "0.7")


def test_frames_of_a_video_are_separate_images():
    frames = [frame([person()], frame=n, seconds=n / 25) for n in range(3)]
    records = [image_record("5.jpg"), {"name": "walk.mp4", "video": True, "frames": frames}]
    data = json.loads("".join(results(records, itemgetter("frames"), COCO)))
    assert [image["id"] for image in data["images"]] == [1, 2, 3, 4]
    assert (
        data["images"][2] | {"file_name": "walk.mp4#1", "frame": 1, "seconds": 0.04}
        == data["images"][2]
    )
    assert [a["image_id"] for a in data["annotations"]] == [2, 3, 4]


@pytest.mark.parametrize(
    "names, ids",
    [
        (["000000000139.jpg", "x/7.png"], [139, 7]),
        (["a/1.jpg", "b/1.jpg"], None),
        (["a.jpg", "2.jpg"], None),
        (["1403636579763555584.png", "2.jpg"], None),  # too large for many JSON readers
        (["²2.jpg"[1:], "²".join(("", ".jpg"))], None),
    ],
)
def test_numeric_image_names_are_image_ids(names, ids):
    assert image_ids_from_names(names) == (ids and dict(zip(names, ids)))


def test_the_journal_has_finished_files_until_a_change(tmp_path):
    source = tmp_path / "a.jpg"
    source.write_text("one")
    files = {"a.jpg": str(source)}
    journal = Journal(tmp_path / "out", {"skeleton": "coco"}, files)
    assert not journal.has("a.jpg", str(source))
    journal.add_image("a.jpg", source_fingerprint(str(source)), frame([person()]))
    again = Journal(tmp_path / "out", {"skeleton": "coco"}, files)
    assert again.has("a.jpg", str(source)) and list(again.frames_of(again.done["a.jpg"])) == [
        frame([person()])
    ]
    source.write_text("another")
    assert not again.has("a.jpg", str(source)) and again.done == {}
    assert Journal(tmp_path / "out", {"skeleton": "coco"}, files, overwrite=True).done == {}
    assert Journal(tmp_path / "out", {"skeleton": "lsp"}, files).done == {}


def test_the_journal_keeps_other_files_of_an_earlier_call(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text(name)
    files = {name: {name: str(tmp_path / name)} for name in ("a.jpg", "b.jpg")}
    for name in ("a.jpg", "b.jpg"):
        journal = Journal(tmp_path / "out", {"skeleton": "coco"}, files[name])
        journal.add_image(name, source_fingerprint(str(tmp_path / name)), frame([person()]))
    assert [record["name"] for record in journal.records()] == ["a.jpg", "b.jpg"]
    assert [
        r["name"]
        for r in Journal(tmp_path / "out", {"skeleton": "coco"}, files["a.jpg"], True).records()
    ] == ["b.jpg"]
    with pytest.raises(
        InputError,
        match=r"holds the people of 1 other files, such as b.jpg, found with other settings",
    ):
        Journal(tmp_path / "out", {"skeleton": "lsp"}, files["a.jpg"])
    elsewhere = {"b.jpg": str(tmp_path / "elsewhere" / "b.jpg")}
    with pytest.raises(
        InputError, match=r"out/b.jpg was made of .*/b.jpg, not of .*/elsewhere/b.jpg"
    ):
        Journal(tmp_path / "out", {"skeleton": "coco"}, elsewhere)


def test_the_journal_has_no_duplicates_and_no_deleted_or_changed_files(tmp_path):
    paths = {name: tmp_path / name for name in ("1.jpg", "2.jpg", "3.jpg")}
    for name, path in paths.items():
        path.write_text(name)
    journal = Journal(tmp_path / "out", {}, {name: str(path) for name, path in paths.items()})
    for name, path in paths.items():
        journal.add_image(name, source_fingerprint(str(path)), frame([person()]))
    paths["2.jpg"].unlink()
    paths["3.jpg"].write_text("changed")
    # The first file under another name, as if another folder were predicted into the same output.
    later = Journal(tmp_path / "out", {}, {"a/1.jpg": str(paths["1.jpg"])})
    assert later.records() == []
    journal = Journal(tmp_path / "out", {}, {"3.jpg": str(paths["3.jpg"])})
    assert not journal.has("3.jpg", str(paths["3.jpg"]))  # now unreadable
    assert Journal(tmp_path / "out", {}, {"4.jpg": "4.jpg"}).records() == []


def test_the_name_of_a_camera_does_not_depend_on_the_folder(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        with Journal(tmp_path / "out", {}, {"camera_0.mp4": "0"}).add_video("camera_0.mp4", []):
            pass


def test_a_name_that_a_spreadsheet_would_take_for_a_formula_is_a_path_in_the_table(tmp_path):
    write(
        tmp_path,
        [image_record('=HYPERLINK("http:evil")', person()), image_record("-1.jpg", person())],
        True,
    )
    rows = (tmp_path / "people.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0].strip('"')[:4] for row in rows] == ["./=H", "./-1"]


def test_a_truncated_journal_loses_only_the_last_line(tmp_path):
    (tmp_path / "a").touch()
    journal = Journal(tmp_path, {})
    for name in "ab":
        journal.add_image(name, source_fingerprint(str(tmp_path / "a")), frame([]))
    journal.path.write_text(journal.path.read_text()[:-9])
    later = Journal(tmp_path, {})
    assert set(later.done) == {"a"}
    later.add_image("c", source_fingerprint(str(tmp_path / "a")), frame([]))
    assert set(Journal(tmp_path, {}).done) == {"a", "c"}


def test_a_camera_is_never_finished(tmp_path):
    journal = Journal(tmp_path, {})
    with journal.add_video("camera_0.mp4", []):
        pass
    assert not journal.has("camera_0.mp4", "0")


def test_a_person_with_one_confident_keypoint_has_a_valid_box(tmp_path):
    one = replace(person(), confidence=np.where(np.arange(17) == 3, 0.9, 0.1))
    write(tmp_path, [image_record("1.jpg", one)])
    _, (found,), *_ = read_annotations(tmp_path / "results.json")
    assert found.box[2:] == (1.0, 1.0) and found.area > 0
    empty = replace(person(missing_keypoints=range(17)), confidence=np.zeros(17))
    assert empty.box == (0.0, 0.0, 0.0, 0.0)


def test_a_video_is_finished_when_all_frames_are(tmp_path):
    source = tmp_path / "walk.mp4"
    source.write_text("a video")
    journal = Journal(tmp_path / "out", {})
    with (
        pytest.raises(KeyboardInterrupt),
        journal.add_video("walk.mp4", source_fingerprint(str(source))) as keep,
    ):
        keep(frame([person()], frame=0, seconds=0.0))
        raise KeyboardInterrupt
    assert (
        not journal.has("walk.mp4", str(source))
        and list((tmp_path / "out" / ".frames").iterdir()) == []
    )
    frames = [frame([person(track_id=n + 1)], frame=n, seconds=n / 25) for n in range(3)]
    with journal.add_video("walk.mp4", source_fingerprint(str(source))) as keep:
        for one in frames:
            keep(one)
    later = Journal(tmp_path / "out", {})
    assert later.has("walk.mp4", str(source)) and later.done["walk.mp4"]["people"] == 3
    assert list(later.frames_of(later.done["walk.mp4"])) == frames
