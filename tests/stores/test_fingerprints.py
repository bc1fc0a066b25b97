"""A store's fingerprint depends on its content alone."""

import shutil

import numpy as np
import pytest

from rlhf_gap import errors, stores
from tests.training import ingredients


def _fingerprint(path, num_rows=None):
  return stores.fingerprint(stores.open(str(path)), num_rows)


def _values():
  values = ingredients.columns(stores.PAIRS)
  values["weight"] = np.ones(ingredients.ROWS, np.float32)
  return values


def test_a_copy_has_the_same_and_any_other_row_another(tmp_path):
  store, other = tmp_path / "store", tmp_path / "other"
  values = _values()
  ingredients.write(store, "pairs", **values)
  shutil.copytree(store, tmp_path / "copy")
  assert _fingerprint(tmp_path / "copy") == _fingerprint(store)
  seen = {_fingerprint(store)}
  for name in values:
    changed = {**values, name: values[name].copy()}
    changed[name][-1] = changed[name][-1] + 1
    ingredients.write(other, "pairs", **changed)
    seen.add(_fingerprint(other))
    shutil.rmtree(other)
  assert len(seen) == len(values) + 1


def test_the_reference_that_scored_it_counts_but_not_its_path(tmp_path):
  values, seen = _values(), []
  for number, (path, digit) in enumerate((("a", "0"), ("b", "0"), ("a", "1"))):
    reference = stores.CheckpointIdentity(path, digit * 64, 0)
    place = tmp_path / str(number)
    ingredients.write(place, "pairs", about={"reference": reference}, **values)
    seen.append(_fingerprint(place))
  assert seen[0] == seen[1] != seen[2]


def test_a_grown_store_keeps_the_fingerprint_of_its_first_rows(tmp_path):
  values = _values()
  early = {name: value[:16] for name, value in values.items()}
  ingredients.write(tmp_path / "early", "pairs", 16, **early)
  ingredients.write(tmp_path / "late", "pairs", **values)
  assert _fingerprint(tmp_path / "late", 16) == _fingerprint(tmp_path / "early")
  assert _fingerprint(tmp_path / "late") != _fingerprint(tmp_path / "early")
  with pytest.raises(
    errors.UserError, match="holds 16 rows; expected at least"
  ):
    _fingerprint(tmp_path / "early", 24)


def test_a_missing_chunk_is_an_error(tmp_path):
  ingredients.write(tmp_path / "store", "pairs")
  store = stores.open(str(tmp_path / "store"))
  (tmp_path / "store" / "weight" / "c.1").unlink()
  with pytest.raises(errors.UserError, match=r"lacks weight/c\.1"):
    stores.fingerprint(store)
