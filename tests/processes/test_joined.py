"""Two real processes that join on loopback, and what they exchange."""

import json
import pathlib
import socket
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
# Each process has two CPU devices; together they sum an array of four.
PROGRAM = textwrap.dedent("""
  import json, sys
  import jax, numpy as np
  from jax.sharding import NamedSharding, PartitionSpec
  from rlhf_gap import errors, partitioning, processes

  address, number, scenario = sys.argv[1], int(sys.argv[2]), sys.argv[3]
  report = {}
  limits = processes.Limits(dead_seconds=20.0, hang_seconds=60.0)
  with processes.joined(address, 2, number, limits=limits):
    if scenario == "different":
      processes.check_same({"SEED": str(number)})
    processes.check_same({"SEED": "0"})
    report["place"] = [processes.index(), processes.count()]
    report["is_first"] = processes.is_first()
    calls = []

    def make():
      calls.append(number)
      return {"from": number}

    report["shared"] = [processes.from_first(make), processes.from_first(make)]
    report["calls"] = len(calls)
    processes.meet()
    if scenario == "failing" and number == 1:
      raise errors.UserError("the disk of process 1 is full")
    mesh = partitioning.Mesh(data=4).make()
    held = partitioning.rows_held(mesh, 4)
    values = 10.0 * held.astype(np.float32)
    report["held"] = held.tolist()
    with partitioning.active(mesh):
      array = partitioning.place_rows(mesh, 4, values)
      doubled = jax.jit(lambda x: 2 * x)
      processes.compile_together(doubled, array)
      whole = processes.gathered(doubled(array))
    report["gathered"] = np.asarray(whole).tolist()
  print(json.dumps(report))
""")


def _run(scenario):
  with socket.create_server(("127.0.0.1", 0)) as free:
    address = f"127.0.0.1:{free.getsockname()[1]}"
  flags = "--xla_force_host_platform_device_count=2"
  started = [
    subprocess.Popen(
      [sys.executable, "-c", PROGRAM, address, str(number), scenario],
      env={
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(2)
  ]
  outputs = [process.communicate(timeout=240) for process in started]
  codes = [process.returncode for process in started]
  return codes, outputs


def _last_line(text):
  return text.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def reports():
  codes, outputs = _run("normal")
  assert codes == [0, 0], outputs
  return [json.loads(_last_line(stdout)) for stdout, _ in outputs]


def test_each_process_knows_its_place(reports):
  assert [report["place"] for report in reports] == [[0, 2], [1, 2]]
  assert [report["is_first"] for report in reports] == [True, False]


def test_values_are_made_once_and_shared(reports):
  assert [report["calls"] for report in reports] == [2, 0]
  for report in reports:
    assert report["shared"] == [{"from": 0}, {"from": 0}]


def test_each_process_places_its_rows_and_all_can_read_the_result(reports):
  first, second = (set(report["held"]) for report in reports)
  assert first | second == {0, 1, 2, 3}
  assert not first & second
  for report in reports:
    assert report["gathered"] == [0.0, 20.0, 40.0, 60.0]


def test_an_error_on_one_process_ends_both_with_its_message():
  codes, outputs = _run("failing")
  assert codes == [2, 2]
  lines = [_last_line(stderr) for _, stderr in outputs]
  assert lines[1] == "rlhf-gap: the disk of process 1 is full"
  assert lines[0] == (
    "rlhf-gap: process 1 has ended: the disk of process 1 is full"
  )


def test_processes_with_different_settings_do_not_start():
  codes, outputs = _run("different")
  assert codes == [2, 2]
  for _, stderr in outputs:
    assert "SEED is 1 against 0" in _last_line(stderr)
