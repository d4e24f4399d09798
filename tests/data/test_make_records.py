"""tools/make_records.py from the command line."""

import json

import pytest

from tfcpn.data.record_format import read_index


def make_records(data, output, **changes):
    flags = {
        "annotations": data.train_annotations,
        "images": data.train,
        "output": output,
        "shards": 4,
        "workers": 2,
    }
    return [
        "tools/make_records.py",
        *(f"--{name}={value}" for name, value in {**flags, **changes}.items()),
    ]


def stamps(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.tfrecord")}


def test_a_second_run_does_nothing_and_only_a_damaged_shard_is_written_again(people_copy, command):
    before = stamps(people_copy.records)
    assert "nothing to do" in command(*make_records(people_copy, people_copy.records)).out
    assert stamps(people_copy.records) == before
    victim = sorted(people_copy.records.glob("*.tfrecord"))[2]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:1000])
    done = command(*make_records(people_copy, people_copy.records))
    assert "resuming, 3 of 4 shards are finished" in done.out
    after = stamps(people_copy.records)
    assert [name for name in before if before[name] != after[name]] == [victim.name]
    assert victim.read_bytes() == whole
    read_index(people_copy.records)


def test_records_do_not_depend_on_the_number_of_workers(people, command, tmp_path):
    command(*make_records(people, tmp_path / "one", workers=1))
    for shard in people.records.glob("*.tfrecord"):
        assert (tmp_path / "one" / shard.name).read_bytes() == shard.read_bytes()


def test_bad_images_fail_the_run_unless_skipped(people, people_copy, command, tmp_path):
    files = sorted(people_copy.train.glob("*.jpg"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:2000])
    output = tmp_path / "records"
    failed = command(*make_records(people_copy, output), check=False)
    assert failed.status == 1
    assert (
        failed.err.strip().splitlines()[-1].startswith("error: 2 of 24 images are bad, listed in ")
    )
    listed = (output / "bad_images.txt").read_text()
    assert (
        f"{files[0].name}: cannot be read" in listed
        and f"{files[1].name}: cannot be decoded" in listed
    )
    assert not (output / "index.json").exists()
    skipped = command(*make_records(people_copy, output), "--skip_bad")
    assert "2 bad ones left out" in skipped.out
    assert sum(s.images for s in read_index(output).shards) == 22
    # Bad images are not forgotten: without --skip_bad they fail again, and once repaired they are
    # included.
    assert command(*make_records(people_copy, output), check=False).status == 1
    for file in files[:2]:
        file.write_bytes((people.train / file.name).read_bytes())
    command(*make_records(people_copy, output))
    assert sum(s.images for s in read_index(output).shards) == 24


def test_other_annotations_do_not_overwrite_records(people_copy, command, edit_json):
    edit_json(people_copy.train_annotations, lambda data: data["annotations"].pop())
    failed = command(*make_records(people_copy, people_copy.records), check=False)
    assert failed.status == 1 and "holds records of other annotations" in failed.err
    read_index(people_copy.records)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"annotations": "nowhere.json"}, "nowhere.json: cannot be read"),
        ({"images": "nowhere"}, "--images=nowhere: no such folder"),
        ({"annotations": ""}, "--annotations is missing"),
        ({"shards": "many"}, "--shards"),
    ],
)
def test_invalid_input_is_reported_in_one_line(people, command, tmp_path, changes, message):
    failed = command(*make_records(people, tmp_path / "records", **changes), check=False)
    assert failed.status == 1
    (line,) = failed.err.strip().splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "records").exists()


def test_a_person_with_sixteen_keypoints_and_an_empty_file_are_named(
    people_copy, command, tmp_path, edit_json
):
    def sixteen(data):
        data["annotations"][3]["keypoints"] = data["annotations"][3]["keypoints"][:48]

    edit_json(people_copy.train_annotations, sixteen)
    number = json.loads(people_copy.train_annotations.read_text())["annotations"][3]["id"]
    failed = command(*make_records(people_copy, tmp_path / "records"), check=False)
    (line,) = failed.err.strip().splitlines()
    assert f"annotation id {number}: keypoints has 48 values" in line and failed.status == 1
    people_copy.train_annotations.write_text("")
    failed = command(*make_records(people_copy, tmp_path / "records"), check=False)
    (line,) = failed.err.strip().splitlines()
    assert "the file is empty" in line and failed.status == 1


def test_changed_images_are_reported_and_deleted_images_are_not_needed(people_copy, command):
    first = sorted(people_copy.train.glob("*.jpg"))[0]
    whole = first.read_bytes()
    first.write_bytes(whole + b"more")
    failed = command(*make_records(people_copy, people_copy.records), check=False)
    assert failed.status == 1 and "was made of other images than those in" in failed.err
    first.unlink()
    assert "nothing to do" in command(*make_records(people_copy, people_copy.records)).out


def test_the_identity_of_records_depends_on_the_images_and_on_skipped_ones(
    people, people_copy, command, tmp_path
):
    """A run resumes only with the records of its start."""
    identities = [read_index(people.records).identity]
    first = sorted(people_copy.train.glob("*.jpg"))[0]
    content = bytearray(first.read_bytes())
    first.write_bytes(bytes(content) + b"more")  # still a JPEG, but another file
    command(*make_records(people_copy, tmp_path / "changed"))
    first.write_bytes(bytes(content[:1000]))
    command(*make_records(people_copy, tmp_path / "skipped"), "--skip_bad")
    identities += [read_index(tmp_path / name).identity for name in ("changed", "skipped")]
    assert len({json.dumps(identity) for identity in identities}) == 3
    command(*make_records(people, tmp_path / "again"))
    assert read_index(tmp_path / "again").identity == identities[0]
