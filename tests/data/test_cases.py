"""Files as people have them, with their right outcome; what the project makes itself is in
test_repair.py.
"""

import json

import numpy as np
import pytest

from support.commands import ROOT
from tfcpn.data.coco import read_annotations
from tfcpn.data.detections import read_detections
from tfcpn.data.record_format import parse_example, read_index
from tfcpn.skeleton import COCO, KNOWN_SKELETONS
from tfcpn.utils.errors import InputError

CASES = ROOT.parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")


@pytest.fixture
def pack(command, tmp_path):
    """Return a function that packs a case and returns its printed lines and its people by id."""
    import tensorflow as tf

    def make(name, *more, check=True):
        folder, output = (CASES / name).parent, tmp_path / f"records{len(more)}"
        arguments = [f"--annotations={CASES / name}", f"--images={folder / 'images'}"]
        arguments += [f"--output={output}", "--shards=1", "--workers=1", *more]
        done = command("tools/make_records.py", *arguments, check=check)
        if done.status:
            return done, {}
        index, people = read_index(output), {}
        for shard in index.shards:
            for record in tf.data.TFRecordDataset(str(output / shard.file)):
                example = parse_example(record, index.skeleton.num_keypoints)
                example = {key: value.numpy() for key, value in example.items()}
                for row, person in enumerate(example["people/id"]):
                    values = {k: v[row] for k, v in example.items() if k.startswith("people/")}
                    people[int(person)] = values | {"size": example["image/size"]}
        return done, people

    return make


def records_of(name) -> dict:
    return {a["id"]: a for a in json.loads((CASES / name).read_text())["annotations"]}


@pytest.mark.parametrize("file", ["train.json", "train_ids_from_11.json"])
def test_species_with_the_same_keypoints_count_together(pack, file):
    done, people = pack(f"01-species/{file}")
    assert len(people) == 11 and "8 images, 11 people, 11 to train on" in done.out
    assert "5 categories with the same keypoints count together: antelope 3, argali" in done.err
    _, cows = pack(f"01-species/{file}", "--category=cow,bison")
    assert len(cows) == 4


def test_single_points_get_a_box_and_an_area(pack):
    done, people = pack("02-cvat-one-point/train.json")
    assert len(people) == 8 and all(p["people/trainable"] for p in people.values())
    assert "labeled people whose box is missing or has no area: 8; box about" in done.err
    for person in people.values():
        x, y, width, height = person["people/box"]
        side = 0.2 * min(person["size"])
        np.testing.assert_allclose([width, height], side, atol=0.01)
        np.testing.assert_allclose(
            [x + width / 2, y + height / 2], person["people/keypoints"][0, :2], atol=0.01
        )
        assert person["people/area"] == pytest.approx(width * height, rel=1e-4)


def test_points_in_a_row_get_a_box_and_the_others_keep_theirs(pack):
    done, people = pack("02-cvat-one-point/two_points.json")
    given = records_of("02-cvat-one-point/two_points.json")
    assert "has no area: 1; box about the keypoints (first: annotation id 3)" in done.err
    for number, person in people.items():
        if number != 3:
            np.testing.assert_allclose(person["people/box"], given[number]["bbox"], atol=1e-4)
    assert min(people[3]["people/box"][2:]) > 10


@pytest.mark.parametrize(
    "file, people, labeled", [("train.json", 9, 8), ("keypoints_empty_list.json", 8, 7)]
)
def test_an_empty_annotation_is_a_person_without_labels(pack, file, people, labeled):
    done, _ = pack(f"03-empty-annotations/{file}")
    assert f"6 images, {people} people, {labeled} to train on" in done.out
    assert "annotations without keypoints: 1; taken for people without labeled" in done.err


@pytest.mark.parametrize(
    "file, message",
    [
        ("no_area", "annotations without an area or outline: 8; area of the box"),
        ("backslash", "file names with backslashes: 6"),
        ("size_null", "images without a size and without annotations: 1; left out"),
        ("only_annotated_sizes", ""),
    ],
)
def test_exports_of_label_studio_are_read(pack, file, message):
    done, people = pack(f"05-label-studio/{file}.json")
    assert len(people) == 8 and "6 images, 8 people, 8 to train on" in done.out
    assert message in done.err
    if file == "no_area":
        for person in people.values():
            _, _, width, height = person["people/box"]
            assert person["people/area"] == pytest.approx(width * height)


def test_names_that_lead_to_no_file_are_refused(pack):
    done, _ = pack("05-label-studio/upload_path.json", check=False)
    assert done.status == 1 and "image id 0: file_name is '..\\\\..\\\\label-studio" in done.err
    done, _ = pack("05-label-studio/url_encoded.json", check=False)
    assert done.status == 1 and "6 of 6 images are bad" in done.err


@pytest.mark.parametrize("file", ["bom.json", "utf16.json"])
def test_byte_order_marks_are_read(pack, file):
    assert len(pack(f"06-encodings/{file}")[1]) == 8


@pytest.mark.parametrize(
    "file, message",
    [
        ("gbk_byte.json", r"line 1, byte 20910: b'\xd5' is not valid UTF-8"),
        ("control_char.json", r"the control character '\x0b' stands in a text"),
    ],
)
def test_damaged_texts_are_located(pack, file, message):
    done, _ = pack(f"06-encodings/{file}", check=False)
    assert done.status == 1 and message in done.err


def test_absolute_names_are_those_below_the_folder(pack):
    done, people = pack("07-absolute/train.json")
    assert len(people) == 8
    assert "file names that start above the folder of the images: 6" in done.err


def test_the_whole_body_comes_with_its_pairs(pack):
    annotations = read_annotations(CASES / "09-wholebody/one_list_133.json", strict=True)
    assert annotations.skeleton == KNOWN_SKELETONS["wholebody"]
    done, people = pack("09-wholebody/lists.json", "--skeleton=wholebody")
    assert {p["people/keypoints"].shape for p in people.values()} == {(133, 3)}
    assert "feet, face and hands in lists of their own: 8; joined" in done.err


def test_large_ids_and_an_area_of_0_are_read(pack):
    done, people = pack("10-big-ids/train.json")
    assert sorted(people) == list(range(890020000466, 890020000474))
    assert people[890020000468]["people/area"] == 100 * 177
    assert "annotations without an area or outline: 1; area of the box" in done.err


def test_sides_of_a_file_with_names_without_sides(pack):
    _, people = pack("12-no-sides/train.json", f"--skeleton={CASES / '12-no-sides/joints.json'}")
    assert len(people) == 8


def test_visibility_1_alone_is_visible(pack):
    _, people = pack("13-visibility-1/train.json")
    seen = {float(v) for p in people.values() for v in p["people/keypoints"][:, 2]}
    assert seen == {0.0, 2.0}


def test_detections_with_category_0_are_of_people(caplog):
    folder = CASES / "17-yolo-boxes"
    images = read_annotations(folder / "val.json").images
    assert len(read_detections(folder / "predictions.json", images)) == 12
    assert "detections of another category than the people's: 12" in caplog.text


def test_results_of_other_images_are_counted_or_refused(caplog):
    folder = CASES / "19-other-pictures"
    images = read_annotations(folder / "val.json").images
    assert len(read_detections(folder / "some_outside.json", images)) == 12
    assert "detections on images that are not annotated: 12; skipped" in caplog.text
    for file, message in (
        ("all_outside.json", "no detection of a person .*not annotated: 12"),
        ("image_id_text.json", "detection number 0: image_id is '000000000001'"),
        ("without_score.json", "detection number 0: score is None"),
    ):
        with pytest.raises(InputError, match=message):
            read_detections(folder / file, images)


@pytest.mark.parametrize("file", ["val.json", "only_small.json"])
def test_only_large_or_small_people_are_read(file):
    annotations = read_annotations(CASES / "20-only-large" / file, strict=True)
    assert len(annotations.people) == 12 and annotations.skeleton == COCO


@pytest.mark.parametrize("file, images", [("all.json", 12), ("jpeg_png.json", 9)])
def test_every_kind_of_image_is_packed(pack, file, images):
    done, _ = pack(f"22-picture-kinds/{file}")
    assert f"{images} images, {images} people" in done.out


@pytest.mark.parametrize(
    "case",
    [
        "01-species/train.json",
        "02-cvat-one-point/train.json",
        "05-label-studio/upload_path.json",
        "09-wholebody/lists.json",
    ],
)
def test_the_check_of_a_file_prints_what_is_in_it(command, tmp_path, case):
    image = tmp_path / "check.png"
    arguments = [CASES / case, f"--images={(CASES / case).parent / 'images'}", f"--output={image}"]
    done = command("-m", "tfcpn.commands.check_annotations", *arguments, check=False)
    refused = "upload" in case
    assert done.status == refused and image.exists() != refused
    assert "  people     " in done.out and "  keypoints  " in done.out
    assert ("error: image id 0: file_name is" in done.out) == refused
