import json

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.data import record_format as examples
from tfcpn.data import record_writer as records
from tfcpn.data.coco import CocoImage, read_annotations
from tfcpn.data.record_format import load_finished_shard, read_index, shard_info_path
from tfcpn.utils.errors import InputError


def test_an_image_and_its_people_are_read_back(people):
    images, annotated, *_ = read_annotations(people.train_annotations)
    by_image = {i: [p for p in annotated if p.image_id == i] for i in images}
    index = read_index(people.records)
    seen = 0
    for serialized in tf.data.TFRecordDataset([str(people.records / s.file) for s in index.shards]):
        r = examples.parse_example(serialized, 17)
        image, expected = images[int(r["image/id"])], by_image[int(r["image/id"])]
        assert r["image/file_name"].numpy().decode() == image.file_name
        assert r["image/size"].numpy().tolist() == [image.height, image.width]
        assert r["image/encoded"].numpy() == (people.train / image.file_name).read_bytes()
        np.testing.assert_allclose(r["people/box"], [p.box for p in expected])
        np.testing.assert_array_equal(r["people/keypoints"], [p.keypoints for p in expected])
        np.testing.assert_array_equal(r["people/id"], [p.id for p in expected])
        np.testing.assert_array_equal(r["people/trainable"], [p.trainable for p in expected])
        seen += len(expected)
    assert seen == len(annotated) == sum(s.people for s in index.shards)
    assert index.trainable == sum(p.trainable for p in annotated)


def test_a_folder_without_records_says_how_to_make_them(tmp_path):
    with pytest.raises(
        InputError, match="does not exist: make them with python tools/make_records.py"
    ):
        read_index(tmp_path / "none")
    (tmp_path / "half").mkdir()
    with pytest.raises(InputError, match="holds no finished records"):
        read_index(tmp_path / "half")


def test_a_truncated_shard_is_named(people_copy):
    shard = sorted(people_copy.records.glob("*.tfrecord"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"{shard.name} has .* bytes, .* were written"):
        read_index(people_copy.records)
    shard.unlink()
    with pytest.raises(InputError, match=f"{shard.name} is missing"):
        read_index(people_copy.records)


def test_records_of_another_version_are_refused(people_copy, edit_json):
    edit_json(people_copy.records / "index.json", lambda data: data.update(version=0))
    with pytest.raises(InputError, match="records of version 0"):
        read_index(people_copy.records)


def test_an_interrupted_shard_leaves_nothing_under_its_name(people, tmp_path):
    images, annotated, *_ = read_annotations(people.train_annotations)
    items = [
        (image, [p for p in annotated if p.image_id == image.id])
        for image in list(images.values())[:4]
    ]

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write_shard(tmp_path / "a.tfrecord", items, people.train, False, on_image=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_bad_images_are_listed_and_fail_the_shard_unless_skipped(people, tmp_path):
    images, annotated, *_ = read_annotations(people.train_annotations)
    image = next(iter(images.values()))
    expected = [p for p in annotated if p.image_id == image.id]
    folder = tmp_path / "images"
    folder.mkdir()
    whole = (people.train / image.file_name).read_bytes()
    (folder / "good.jpg").write_bytes(whole)
    (folder / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    names = ["good.jpg", "short.jpg", "text.jpg", "missing.jpg"]
    items = [(CocoImage(1, name, image.height, image.width), expected) for name in names]
    items.append((CocoImage(1, "good.jpg", image.height + 1, image.width), expected))
    shard = records.write_shard(tmp_path / "a.tfrecord", items, folder, skip_bad=False)
    assert not (tmp_path / "a.tfrecord").exists() and len(shard.bad) == 4
    for message, part in zip(
        shard.bad.values(),
        ["cut short or damaged", "not a JPEG", "cannot be read", "but annotated as"],
    ):
        assert part in message
    kept = records.write_shard(tmp_path / "a.tfrecord", items, folder, skip_bad=True)
    assert kept.images == 1 and load_finished_shard(tmp_path / "a.tfrecord") == kept
    assert len(list(tf.data.TFRecordDataset(str(tmp_path / "a.tfrecord")))) == 1


def test_a_shard_with_a_damaged_description_is_unfinished(people_copy):
    shard = sorted(people_copy.records.glob("*.tfrecord"))[0]
    assert load_finished_shard(shard) is not None
    shard_info_path(shard).write_text(json.dumps({"file": shard.name}))
    assert load_finished_shard(shard) is None
