"""JSON as other programs write it, and errors with the position in the file."""

import codecs
import json

import pytest

from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import read_json

VALUE = {"images": [{"file_name": "Züge.jpg"}]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_byte_order_marks_are_read(tmp_path, encoding):
    text = json.dumps(VALUE, ensure_ascii=False)
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    (tmp_path / "a.json").write_bytes(mark + text.encode(encoding))
    assert read_json(tmp_path / "a.json") == VALUE


def test_an_invalid_utf8_byte_is_shown_with_the_preceding_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{\n"id": 7,\n"name": "Z\xfcge"}')
    with pytest.raises(
        InputError,
        match=r"a.json: line 3, byte 22: b'\\xfc' is not valid UTF-8 \(after .*\"name\": \"Z",
    ):
        read_json(tmp_path / "a.json")


def test_a_control_character_is_shown_with_the_preceding_text(tmp_path):
    (tmp_path / "a.json").write_text('{"id": 7,\n"name": "two\tcolumns"}')
    with pytest.raises(
        InputError,
        match=r"a.json: line 2: the control character '\\t' stands in a text \(after .*two",
    ):
        read_json(tmp_path / "a.json")


def test_a_truncated_file_is_reported_as_truncated(tmp_path):
    (tmp_path / "a.json").write_text('{"id": [1, 2')
    with pytest.raises(InputError, match="was it downloaded completely"):
        read_json(tmp_path / "a.json")
