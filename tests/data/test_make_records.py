"""tools/make_records.py as a user runs it."""

import json

import pytest

from tfcpn.data.record_format import read_index


def words(data, output, **changes):
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


def test_a_second_run_does_nothing_and_a_damaged_shard_alone_is_made_anew(people_copy, command):
    before = stamps(people_copy.records)
    assert "nothing to do" in command(*words(people_copy, people_copy.records)).out
    assert stamps(people_copy.records) == before
    victim = sorted(people_copy.records.glob("*.tfrecord"))[2]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:1000])
    done = command(*words(people_copy, people_copy.records))
    assert "resuming, 3 of 4 shards are finished" in done.out
    after = stamps(people_copy.records)
    assert [name for name in before if before[name] != after[name]] == [victim.name]
    assert victim.read_bytes() == whole
    read_index(people_copy.records)


def test_records_do_not_depend_on_the_number_of_workers(people, command, tmp_path):
    command(*words(people, tmp_path / "one", workers=1))
    for shard in people.records.glob("*.tfrecord"):
        assert (tmp_path / "one" / shard.name).read_bytes() == shard.read_bytes()


def test_bad_images_fail_the_run_unless_skipped(people, people_copy, command, tmp_path):
    files = sorted(people_copy.train.glob("*.jpg"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:2000])
    output = tmp_path / "records"
    failed = command(*words(people_copy, output), check=False)
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
    skipped = command(*words(people_copy, output), "--skip_bad")
    assert "2 bad ones left out" in skipped.out
    assert sum(s.images for s in read_index(output).shards) == 22
    # The bad ones are not forgotten: without --skip_bad they fail again, and once mended they come
    # in.
    assert command(*words(people_copy, output), check=False).status == 1
    for file in files[:2]:
        file.write_bytes((people.train / file.name).read_bytes())
    command(*words(people_copy, output))
    assert sum(s.images for s in read_index(output).shards) == 24


def test_another_input_does_not_overwrite_records(people_copy, command, edit_json):
    edit_json(people_copy.train_annotations, lambda data: data["annotations"].pop())
    failed = command(*words(people_copy, people_copy.records), check=False)
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
def test_a_mistake_is_reported_in_one_line(people, command, tmp_path, changes, message):
    failed = command(*words(people, tmp_path / "records", **changes), check=False)
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
    failed = command(*words(people_copy, tmp_path / "records"), check=False)
    (line,) = failed.err.strip().splitlines()
    assert f"annotation id {number}: keypoints has 48 values" in line and failed.status == 1
    people_copy.train_annotations.write_text("")
    failed = command(*words(people_copy, tmp_path / "records"), check=False)
    (line,) = failed.err.strip().splitlines()
    assert "the file is empty" in line and failed.status == 1


def test_images_that_were_changed_since_are_noticed_and_those_that_are_gone_are_not_needed(
    people_copy, command
):
    first = sorted(people_copy.train.glob("*.jpg"))[0]
    whole = first.read_bytes()
    first.write_bytes(whole + b"more")
    failed = command(*words(people_copy, people_copy.records), check=False)
    assert failed.status == 1 and "was made of other images than those in" in failed.err
    first.unlink()
    assert "nothing to do" in command(*words(people_copy, people_copy.records)).out


def test_records_are_reported_from_others_by_their_images_and_by_what_was_left_out(
    people, people_copy, command, tmp_path
):
    """What a run was trained on binds it."""
    identities = [read_index(people.records).identity]
    first = sorted(people_copy.train.glob("*.jpg"))[0]
    content = bytearray(first.read_bytes())
    first.write_bytes(bytes(content) + b"more")  # still a JPEG, but another file
    command(*words(people_copy, tmp_path / "changed"))
    first.write_bytes(bytes(content[:1000]))
    command(*words(people_copy, tmp_path / "skipped"), "--skip_bad")
    identities += [read_index(tmp_path / name).identity for name in ("changed", "skipped")]
    assert len({json.dumps(identity) for identity in identities}) == 3
    command(*words(people, tmp_path / "again"))
    assert read_index(tmp_path / "again").identity == identities[0]
