"""The reading and writing of small files."""

import os

import msgspec
import pytest

from rlhf_gap import errors, files


class Point(msgspec.Struct):
  """A schema."""

  x: int
  y: float = 0.0


def test_json_is_decoded_against_its_schema(tmp_path):
  path = tmp_path / "point.json"
  files.write_json(path, {"y": 2, "x": 1})
  assert path.read_text() == '{\n "x": 1,\n "y": 2\n}\n'
  assert files.read_json(path, Point) == Point(1, 2.0)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b'{"x": "one"}', r"Expected `int`, got `str` - at `\$.x`"),
    (b"[1]", "Expected `object`, got `array`"),
    (b'{"x": 1', "truncated or damaged"),
    (b"", "truncated or damaged"),
    (b"\xff\xfe{\x00", "UTF-16"),
    (b'{"x": 1, "z": ' + b"[" * 100_000, "nested too deeply"),
  ],
)
def test_bad_json_is_one_line(content, message):
  with pytest.raises(errors.UserError, match=f"^p: .*{message}"):
    files.decode_json(content, Point, "p")


def test_a_byte_order_mark_is_not_text():
  assert files.decode_text(b"\xef\xbb\xbfcan i", "p") == "can i"
  assert files.decode_json(b'\xef\xbb\xbf{"x": 1}', Point, "p") == Point(1)


def test_only_regular_files_are_read(tmp_path):
  os.mkfifo(tmp_path / "fifo")
  with pytest.raises(errors.UserError, match="FIFO"):
    files.read_bytes(tmp_path / "fifo")
  with pytest.raises(errors.UserError, match="FIFO, socket or device"):
    files.read_bytes("/dev/zero")
  with pytest.raises(errors.UserError, match="is a directory"):
    files.read_bytes(tmp_path)
  with pytest.raises(errors.UserError, match="no such file"):
    files.read_bytes(tmp_path / "fifo" / "below")
  with pytest.raises(errors.UserError, match="not a valid path"):
    files.read_bytes("a\0b")
  (tmp_path / "large").write_bytes(b"123456")
  with pytest.raises(errors.UserError, match="larger than 5 bytes"):
    files.read_bytes(tmp_path / "large", max_bytes=5)


@pytest.mark.parametrize(
  "name",
  ["", "../x", "a/../../x", "/etc/passwd", "a\0b", "gs://b/x", "..\\x"],
)
def test_names_in_an_index_stay_inside_the_folder(name):
  with pytest.raises(errors.UserError, match="index.json: names the file"):
    files.inside("folder", name, "index.json")


def test_a_name_in_an_index_may_hold_folders():
  assert files.inside("folder", "a/..b", "index") == "folder/a/..b"


def test_a_failed_write_keeps_the_old_file(tmp_path):
  path = tmp_path / "file"
  files.write_text(path, "old")

  def fail():
    with files.atomic_writer(path) as file:
      file.write(b"half")
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fail()
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["file"]


def test_messages_are_one_printable_line():
  message = str(errors.UserError("a\x1b[31m\nb\ud800 é模"))
  assert message == "a\\x1b[31m\\nb\\ud800 é模"
