"""Annotation files as labeling tools write them: what is repaired, counted and refused."""

import json
import logging

import numpy as np
import pytest

from support.photos import photo, write
from tfcpn.data import findings as kinds
from tfcpn.data.coco import parse_annotations, read_annotations, read_clean_file
from tfcpn.data.detections import read_detections
from tfcpn.data.repair import box_about
from tfcpn.skeleton import COCO, KNOWN_SKELETONS, same_keypoints
from tfcpn.utils.errors import InputError

SIZE = (100, 200)  # height, width


def keypoints(*points) -> list:
    """Return 17 keypoints, the first of which are points."""
    flat = [v for x, y in points for v in (x, y, 2)]
    return flat + [0] * (51 - len(flat))


def person(**changes) -> dict:
    """Return an annotation without faults, changed; a value of `...` removes a field."""
    record = {
        "id": 7,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 20, 40, 60],
        "area": 1500,
        "iscrowd": 0,
        "keypoints": keypoints((20, 30), (30, 40), (40, 70)),
        "num_keypoints": 3,
    }
    record.update(changes)
    return {name: value for name, value in record.items() if value is not ...}


CATEGORY = {"id": 1, "name": "person", "keypoints": list(COCO.keypoints), "skeleton": []}


@pytest.fixture
def file(tmp_path):
    """Return a function that writes an annotation file of an image and people."""

    def make(*people, images=None, categories=(CATEGORY,)):
        image = {"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}
        data = {"images": images or [image], "annotations": list(people)}
        if categories is not None:
            data["categories"] = list(categories)
        path = tmp_path / "a.json"
        path.write_text(json.dumps(data))
        return path

    return make


def read(path, **options):
    """Return the annotations of a file, and how often each kind was found."""
    clean = read_clean_file(path, **options)
    return parse_annotations(clean, path), dict(clean.findings.counts)


def only(path, **options):
    annotations, found = read(path, **options)
    (someone,) = annotations.people
    return someone, found


def test_a_file_without_faults_is_left_alone(file):
    record = person(segmentation=[[10, 20, 50, 20, 50, 80]])
    someone, found = only(file(record))
    assert found == {} and someone.box == (10, 20, 40, 60) and someone.area == 1500
    assert read_clean_file(file(record)).data["annotations"] == [record]


@pytest.mark.parametrize("value", [..., None, []])
def test_an_annotation_without_keypoints_is_a_person_without_labels(file, value):
    people, found = read(file(person(), person(id=8, keypoints=value, num_keypoints=...)))
    assert [p.trainable for p in people.people] == [True, False]
    assert found == {kinds.NO_KEYPOINTS: 1}


def test_an_annotation_of_zeros_is_a_person_without_labels(file):
    people, found = read(
        file(person(), person(id=8, keypoints=[0] * 51, num_keypoints=0, area=0, bbox=[0, 0, 0, 0]))
    )
    assert [p.trainable for p in people.people] == [True, False] and found == {}


@pytest.mark.parametrize("value, kind", [(..., kinds.NO_COUNT), (99, kinds.WRONG_COUNT)])
def test_labeled_keypoints_are_counted_anew(file, value, kind):
    someone, found = only(file(person(num_keypoints=value)))
    assert someone.num_keypoints == 3 and found == {kind: 1}


@pytest.mark.parametrize("value", [..., None, 0, 0.0, 1e-5])
def test_a_missing_area_is_that_of_the_outline_or_else_of_the_box(file, value):
    someone, found = only(file(person(area=value)))
    assert someone.area == 2400 and found == {kinds.BOX_AREA: 1}
    someone, found = only(file(person(area=value, segmentation=[[0, 0, 30, 0, 30, 20, 0, 20]])))
    assert someone.area == 600 and found == {kinds.OUTLINE_AREA: 1}


@pytest.mark.parametrize("box", [..., None, [], [20, 30, 0, 0], [20, 30, 20, 0]])
def test_a_missing_box_is_put_about_the_keypoints(file, box):
    someone, found = only(file(person(bbox=box)))
    # 20 to 40 and 30 to 70, and a tenth of the longer side on each side
    assert someone.box == (16, 26, 28, 48) and found == {kinds.NO_BOX: 1}


def test_a_box_about_a_single_point_has_a_fifth_of_the_images_shorter_side():
    assert box_about(np.array([[50.0, 60.0]]), (100, 200)) == [40, 50, 20, 20]
    assert box_about(np.array([[50.0, 60.0], [90.0, 60.0]]), (100, 200)) == [46, 50, 48, 20]
    assert box_about(np.array([[50.0, 60.0]]), None) == [40, 50, 20, 20]


def test_a_person_without_labels_may_lack_box_and_area(file):
    people, found = read(
        file(person(), person(id=8, keypoints=[0] * 51, num_keypoints=0, bbox=..., area=...))
    )
    assert people.people[1].box == (0, 0, 0, 0) and people.people[1].area == 0 and found == {}


@pytest.mark.parametrize("value, crowd", [(False, False), (True, True), (None, False)])
def test_iscrowd_may_be_a_boolean(file, value, crowd):
    people, found = read(file(person(), person(id=8, iscrowd=value)))
    assert people.people[1].crowd is crowd and found == {kinds.CROWD: 1}


def test_a_single_polygon_may_stand_without_a_list_and_nonsense_is_no_outline(file):
    data = read_clean_file(file(person(segmentation=[1, 2, 3, 4, 5, 6]))).data
    assert data["annotations"][0]["segmentation"] == [[1, 2, 3, 4, 5, 6]]
    _, found = only(file(person(segmentation="polygon")))
    assert found == {kinds.OUTLINE: 1}


def test_annotations_without_any_id_are_numbered(file):
    people, found = read(file(person(id=...), person(id=...)))
    assert [p.id for p in people.people] == [1, 2] and found == {kinds.NO_IDS: 2}
    with pytest.raises(InputError, match="annotation number 1: id is None"):
        read_annotations(file(person(), person(id=...)))


# Categories


def species(number, names=COCO.keypoints, **more):
    return {"id": number, "name": f"species {number}", "keypoints": list(names), **more}


def test_categories_with_the_same_keypoints_count_together(file, caplog):
    path = file(
        person(category_id=1),
        person(id=8, category_id=3),
        categories=[species(n) for n in (1, 2, 3)],
    )
    with caplog.at_level(logging.WARNING):
        annotations = read_annotations(path, strict=True)
    assert len(annotations.people) == 2 and annotations.categories == {1, 2, 3}
    assert "3 categories with the same keypoints count together: species 1 1, species 2 0" in (
        caplog.text
    )
    assert [a["category_id"] for a in annotations.to_coco()["annotations"]] == [1, 1]


def test_a_flag_chooses_among_categories(file):
    path = file(person(), person(id=8, category_id=3), categories=[species(1), species(3)])
    assert [p.id for p in read(path, categories=["species 3"])[0].people] == [8]
    assert [p.id for p in read(path, categories=["1"])[0].people] == [7]
    with pytest.raises(InputError, match="--category=cow: .* there are species 1 1, species 3 1"):
        read(path, categories=["cow"])


def test_categories_with_other_keypoints_need_a_choice(file):
    hand = species(2, ("thumb", "index"))
    fingers = person(id=8, category_id=2, keypoints=[1, 2, 2, 3, 4, 2], num_keypoints=2)
    path = file(person(), fingers, categories=[CATEGORY, hand])
    with pytest.raises(InputError, match="different keypoints .person 1, species 2 1 annotations"):
        read_annotations(path)
    assert [p.id for p in read_annotations(path, categories=["species 2"]).people] == [8]
    assert [p.id for p in read_annotations(path, expected=COCO).people] == [7]
    # Nothing to choose where only one of them is used.
    assert [p.id for p in read_annotations(file(person(), categories=[CATEGORY, hand])).people]


def test_skipped_annotations_of_other_categories_are_reported(file, caplog):
    dog = {"id": 18, "name": "dog"}
    record = {"id": 9, "image_id": 1, "category_id": 18, "bbox": [1, 2, 3, 4], "area": 12}
    annotations = read_annotations(file(person(), record, categories=[CATEGORY, dog]))
    assert [p.id for p in annotations.people] == [7]
    assert "annotations of other categories are skipped: dog 1" in caplog.text


@pytest.mark.parametrize("category", [{"id": 4, "name": "pose"}, {"id": 4, "keypoints": []}])
def test_17_keypoints_without_names_are_cocos(file, category, caplog):
    annotations = read_annotations(file(person(category_id=4), categories=[category]))
    assert annotations.skeleton == COCO and annotations.categories == {4}
    assert "no category names its keypoints: taken for those of 'coco'" in caplog.text


def test_other_keypoints_without_names_need_a_skeleton(file):
    path = file(person(keypoints=[5, 5, 2] * 16, num_keypoints=16), categories=[{"id": 1}])
    with pytest.raises(InputError, match="name them by --skeleton, such as mpii"):
        read_annotations(path)
    mpii = KNOWN_SKELETONS["mpii"]
    assert read_annotations(path, expected=mpii).skeleton == mpii


def test_limbs_that_count_from_0_or_do_not_exist_are_repaired(file):
    names = ("a", "b", "c")
    body = person(keypoints=[15, 25, 2] * 3, num_keypoints=3)
    annotations, found = read(file(body, categories=[species(1, names, skeleton=[[0, 1], [1, 2]])]))
    assert annotations.skeleton.limbs == ((0, 1), (1, 2)) and found == {kinds.LIMBS_FROM_0: 1}
    path = file(body, categories=[species(1, names, skeleton=[[1, 2], [16, 14]])])
    annotations, found = read(path)
    assert annotations.skeleton.limbs == ((0, 1),) and found == {kinds.LIMBS: 1}


# Images


def images_of(*names, **size):
    return [{"id": n, "file_name": name, **size} for n, name in enumerate(names, 1)]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "sub/b c.jpg", "50%20.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "images" / name, photo(*SIZE))
    return tmp_path / "images"


@pytest.mark.parametrize("size", [{}, {"height": None, "width": None}, {"height": 0, "width": 0}])
def test_missing_sizes_are_read_from_the_files(file, folder, size):
    path = file(person(), images=images_of("a.jpg", "none.jpg", **size))
    annotations, found = read(path, image_dir=folder)
    assert (annotations.images[1].height, annotations.images[1].width) == SIZE
    assert list(annotations.images) == [1]
    assert found == {kinds.SIZE: 1, kinds.NO_SIZE: 1}


@pytest.mark.parametrize(
    "name, found_as, kind",
    [
        ("sub\\b c.jpg", "sub/b c.jpg", kinds.BACKSLASH),
        ("sub/b%20c.jpg", "sub/b c.jpg", kinds.ENCODED),
        ("/home/user/set/sub/b c.jpg", "sub/b c.jpg", kinds.BELOW),
        ("C:\\set\\a.jpg", "a.jpg", kinds.BELOW),
        ("images/a.jpg", "a.jpg", kinds.BELOW),
        ("50%20.jpg", "50%20.jpg", None),
        ("sub%20/a.jpg", "sub%20/a.jpg", None),
        ("other/a.jpg", "other/a.jpg", None),
    ],
)
def test_unusual_names_are_those_of_files_that_exist(file, folder, name, found_as, kind):
    images = images_of(name, height=SIZE[0], width=SIZE[1])
    annotations, found = read(file(person(), images=images), image_dir=folder)
    assert annotations.images[1].file_name == found_as
    assert (kind in found) if kind else not found


@pytest.mark.parametrize("name", ["../a.jpg", "..\\..\\upload\\a.jpg", "%2e%2e/a.jpg/../a.jpg"])
def test_a_name_outside_the_folder_is_refused(file, folder, name):
    images = images_of(name, height=SIZE[0], width=SIZE[1])
    with pytest.raises(InputError, match="image id 1: file_name is .* leaves the folder"):
        read_annotations(file(person(), images=images), image_dir=folder)


# What looks wrong


def test_boxes_that_may_be_two_corners_are_counted(file, caplog):
    corners = [person(id=n, bbox=[110, 20, 190, 80]) for n in range(3)]
    read_annotations(file(*corners))
    assert (
        "boxes that reach beyond their image: 3; bbox is x, y, width, height; check that it "
        in (caplog.text)
    )


def test_people_without_a_keypoint_in_their_box_are_counted(file):
    _, found = only(file(person(bbox=[100, 20, 40, 60])))
    assert found == {kinds.OUTSIDE_BOX: 1}


def test_keypoints_without_a_partner_are_named(file, caplog):
    names = ("left_eye", "right_eye", "left_paw", "wing", "nose")
    body = person(keypoints=[15, 25, 2] * 5, num_keypoints=5)
    read_annotations(file(body, categories=[species(1, names)]))
    assert "keypoints without one on the other side: 1; kept in place" in caplog.text
    assert "(first: left_paw)" in caplog.text
    assert "no left or right in the names of wing: kept in place in mirror images" in caplog.text


def test_strict_refuses_what_was_repaired_or_looks_wrong(file):
    path = file(person(area=0), person(id=8, bbox=[190, 20, 40, 60]))
    with pytest.raises(
        InputError,
        match="a.json: --strict: annotations without an area or outline: 1; .*; boxes that reach",
    ):
        read_annotations(path, strict=True)
    assert len(read_annotations(path).people) == 2


# Known skeletons


@pytest.mark.parametrize("name", KNOWN_SKELETONS)
def test_a_known_skeleton_is_recognized_by_its_names(file, name):
    skeleton = KNOWN_SKELETONS[name]
    body = person(
        keypoints=[15, 25, 2] * skeleton.num_keypoints, num_keypoints=skeleton.num_keypoints
    )
    # CrowdPose's own files have limbs of other keypoints.
    category = species(1, skeleton.keypoints, skeleton=[[16, 14], [99, 1]])
    annotations, found = read(file(body, categories=[category]))
    assert annotations.skeleton == skeleton and found == {}


def test_a_known_skeleton_is_recognized_by_synonyms(file):
    names = [*KNOWN_SKELETONS["crowdpose"].keypoints[:12], "top_head", "neck"]
    body = person(keypoints=[15, 25, 2] * 14, num_keypoints=14)
    skeleton = read_annotations(file(body, categories=[species(1, names)])).skeleton
    assert skeleton.name == "crowdpose" and skeleton.keypoints == tuple(names)
    assert skeleton.sigmas == KNOWN_SKELETONS["crowdpose"].sigmas
    assert not same_keypoints(names[::-1], KNOWN_SKELETONS["crowdpose"].keypoints)


def test_keypoints_are_converted_by_name(file, caplog):
    lsp = KNOWN_SKELETONS["lsp"]
    points = [v for n in range(17) for v in (10 + n, 20 + n, 1 + n % 2)]
    path = file(person(keypoints=points, num_keypoints=17))
    with pytest.raises(InputError, match="its keypoints are nose, .*; expected those of 'lsp'"):
        read_annotations(path, expected=lsp)
    (someone,) = read_annotations(path, expected=lsp, convert=True).people
    for name, row in zip(lsp.keypoints, someone.keypoints):
        n = COCO.keypoints.index(name) if name in COCO.keypoints else None
        assert tuple(row) == ((0, 0, 0) if n is None else (10 + n, 20 + n, 1 + n % 2)), name
    assert "converted by name to 'lsp': 12 of its 14 keypoints; never labeled: neck, head_top" in (
        caplog.text
    )
    hand = species(1, ("thumb", "index"))
    path = file(person(keypoints=[15, 25, 2] * 2), categories=[hand])
    with pytest.raises(InputError, match="expected those of 'lsp'"):
        read_annotations(path, expected=lsp, convert=True)


def test_the_lists_of_coco_whole_body_are_joined(file):
    whole = KNOWN_SKELETONS["wholebody"]
    parts = {"foot": 6, "face": 68, "lefthand": 21, "righthand": 21}
    lists, start = {}, 17
    for part, count in parts.items():
        lists[f"{part}_kpts"] = [v for n in range(count) for v in (start + n, 5, 0.5 + n % 2)]
        lists[f"{part}_valid"] = part != "righthand"
        start += count
    (someone,) = read_annotations(file(person(**lists)), expected=whole).people
    assert someone.keypoints.shape == (133, 3) and start == 133
    assert (someone.keypoints[17:112, 0] == np.arange(17, 112)).all()
    assert set(someone.keypoints[17:112, 2]) == {2} and not someone.keypoints[112:].any()


def test_in_mirror_images_the_known_skeletons_keep_the_sides_apart():
    for skeleton in KNOWN_SKELETONS.values():
        sides = [
            [name for name in skeleton.keypoints if side in name] for side in ("left", "right")
        ]
        paired = [{skeleton.keypoints[p[side]] for p in skeleton.pairs} for side in (0, 1)]
        for names, pairs in zip(sides, paired):
            assert set(names) <= pairs, skeleton.name
        assert len(skeleton.sigmas or skeleton.keypoints) == skeleton.num_keypoints


# Detections


def test_detections_with_one_category_of_their_own_are_of_people(tmp_path, caplog):
    record = {"image_id": 1, "category_id": 0, "bbox": [1, 2, 3, 4], "score": 0.5}
    path = tmp_path / "d.json"
    path.write_text(json.dumps([record, {**record, "image_id": 9}]))
    assert len(read_detections(path, {1})) == 1
    assert "detections of another category than the people's: 2; all have the same one" in (
        caplog.text
    )
    assert "detections on images that are not annotated: 1; skipped" in caplog.text
    with pytest.raises(InputError, match="--strict: detections of another category"):
        read_detections(path, {1}, strict=True)
    path.write_text(json.dumps([record, {**record, "category_id": 2}]))
    with pytest.raises(
        InputError, match="no detection of a person .*2 detections, categories 0, 2"
    ):
        read_detections(path, {1})


def test_numbers_written_as_text_are_read(file):
    image = {"id": 1, "file_name": "a.jpg", "height": "100", "width": "200.0"}
    annotations, found = read(file(person(area="1500", iscrowd="0"), images=[image]))
    assert (annotations.images[1].height, annotations.images[1].width) == SIZE
    assert annotations.people[0].area == 1500 and found == {kinds.TEXT_NUMBERS: 4}
    with pytest.raises(InputError, match="area is 'large'"):
        read(file(person(area="large")))


def test_keypoints_as_triples_and_null_for_unlabeled_ones_are_read(file):
    flat = keypoints((20, 30), (30, 40), (40, 70))
    triples = [flat[i : i + 3] for i in range(0, 51, 3)]
    someone, found = only(file(person(keypoints=triples)))
    assert someone.keypoints.ravel().tolist() == flat and found == {kinds.TRIPLES: 1}
    nulls = [*flat[:9], None, None, 0, None, None, None, *flat[15:]]
    someone, found = only(file(person(keypoints=nulls)))
    assert someone.keypoints.ravel().tolist() == flat and found == {kinds.NULLS: 1}
    with pytest.raises(InputError, match="holds something that is not a number"):
        read(file(person(keypoints=[None, *flat[1:]])))


def test_the_same_image_record_twice_is_taken_once(file):
    image = {"id": 1, "file_name": "a.jpg", "height": 100, "width": 200}
    annotations, found = read(file(person(), images=[image, dict(image)]))
    assert list(annotations.images) == [1] and found == {kinds.SAME_IMAGE: 1}
    with pytest.raises(InputError, match="image id 1 appears twice"):
        read(file(person(), images=[image, {**image, "file_name": "b.jpg"}]))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-8-sig"])
def test_utf_16_is_read_with_and_without_a_mark(file, encoding):
    path = file(person())
    path.write_bytes(path.read_text().encode(encoding))
    assert only(path)[1] == {}
