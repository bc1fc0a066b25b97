"""Traffic of compiled programs against sums by hand."""

import pytest

from rlhf_gap.plan import hlo
from rlhf_gap.plan.hlo import Place

# A loop of 3 iterations within one of unknown length; a slice and an in-place
# update; a collective that overlaps with a fusion and so appears in two.
TEXT = """\
HloModule jit_f, is_scheduled=true

%sliced (param_0: f32[100,8], param_1: s32[]) -> f32[1,8] {
  %param_0 = f32[100,8]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice.1 = f32[1,8]{1,0} dynamic-slice(%param_0, %param_1, %zero), \
dynamic_slice_sizes={1,8}
}

%updated (param_0.1: f32[100,8], param_1.1: f32[1,8], param_2: s32[]) -> \
f32[100,8] {
  %param_0.1 = f32[100,8]{1,0} parameter(0)
  %param_1.1 = f32[1,8]{1,0} parameter(1)
  %param_2 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %put = f32[100,8]{1,0} dynamic-update-slice(%param_0.1, %param_1.1, \
%param_2, %zero.1)
}

%begun (param_0.2: bf16[16,8]) -> bf16[32,8] {
  %param_0.2 = bf16[16,8]{1,0} parameter(0)
  ROOT %gather.1 = bf16[32,8]{1,0} all-gather(%param_0.2), channel_id=5, \
replica_groups=[8,2]<=[16], dimensions={0}
}

%inner (p: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
  %p = (s32[], f32[100,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %cache = f32[100,8]{1,0} get-tuple-element(%p), index=1
  %row = f32[1,8]{1,0} fusion(%cache, %i), kind=kLoop, calls=%sliced
  %written = f32[100,8]{1,0} fusion(%cache, %row, %i), kind=kLoop, \
calls=%updated
  ROOT %next = (s32[], f32[100,8]{1,0}) tuple(%i, %written)
}

%outer (q: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
  %q = (s32[], f32[100,8]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%q), index=0
  %sum = s32[] all-reduce(%n), channel_id=7, replica_groups={{0,1,2,3}}, \
to_apply=%inner, metadata={op_name="jit(f)/first/while/body/sum"}
  ROOT %w = (s32[], f32[100,8]{1,0}) while(%q), condition=%c, body=%inner, \
backend_config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (x: f32[10,8], y: bf16[16,8], rows: f32[100,8]) -> f32[10,8] {
  %x = f32[10,8]{1,0} parameter(0)
  %y = bf16[16,8]{1,0:T(8,128)(2,1)} parameter(1)
  %rows = f32[100,8]{1,0} parameter(2)
  %both = f32[10,8]{1,0} add(%x, %x), metadata={op_name="jit(f)/first/add"}
  %near = f32[10,8]{1,0:T(8,128)S(1)} negate(%both)
  %start = bf16[32,8]{1,0} fusion(%y), kind=kLoop, calls=%begun, \
metadata={op_name="jit(f)/second/gather"}
  %done = bf16[32,8]{1,0} fusion(%y), kind=kLoop, calls=%begun
  %t = (s32[], f32[100,8]{1,0}) tuple(%x, %y)
  %loop = (s32[], f32[100,8]{1,0}) while(%t), condition=%c2, body=%outer, \
metadata={op_name="jit(f)/first/while"}
  %ahead = ((f32[100,8]{1,0}), f32[25,8]{1,0:S(1)}, s32[]{:S(2)}) \
slice-start(%rows), slice={[0:25], [0:8]}, \
metadata={op_name="jit(f)/third/slice"}
  %here = f32[25,8]{1,0:S(1)} slice-done(%ahead)
  ROOT %out = f32[10,8]{1,0} copy(%near), metadata={op_name="jit(f)/first/out"}
}
"""
ROW = 8 * 4
INDEX = 4


@pytest.fixture(scope="module")
def traffic():
  return hlo.traffic(TEXT, turns=5, terms=("first", "second", "third"))


def test_vector_memory_causes_no_hbm_traffic(traffic):
  add, negate, copy = 3 * 10 * ROW, 10 * ROW, 10 * ROW
  assert traffic.hbm_bytes[Place("first", False)] == add + negate + copy


def test_a_prefetched_slice_is_read_once(traffic):
  assert traffic.hbm_bytes[Place("third", False)] == 25 * ROW


def test_an_instruction_without_a_scope_takes_its_predecessors(traffic):
  each = 16 * 8 * 2 + 32 * 8 * 2
  assert traffic.hbm_bytes[Place("second", False)] == 2 * each


def test_loops_count_per_iteration_and_slices_only_their_rows(traffic):
  # The row is read and written to the slice, then read and written back.
  inner = (ROW + INDEX + ROW) + (ROW + INDEX + ROW)
  summed = 2 * INDEX
  place = Place("first", True)
  assert traffic.hbm_bytes[place] == 5 * (3 * inner + summed)


def test_a_collective_split_over_fusions_counts_once(traffic):
  gather, total = sorted(traffic.collectives, key=lambda c: c.kind)
  assert (gather.kind, gather.group, gather.turns) == ("all-gather", 2, 1)
  assert gather.place == Place("second", False)
  assert gather.sent_bytes == 32 * 8 * 2 / 2
  assert (total.kind, total.group, total.turns) == ("all-reduce", 4, 5)
  assert total.place == Place("first", True)
  assert total.sent_bytes == 5 * 2 * 3 / 4 * INDEX
  assert gather.array_sizes == {16 * 8, 32 * 8}
  assert total.array_sizes == {1}
  assert total.source == "jit(f)/first/while/body/sum"


@pytest.mark.parametrize(
  ("attributes", "members"),
  [
    ("channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}", (0, 1, 2, 3)),
    ("replica_groups=[4,2]<=[2,4]T(1,0)", (0, 4)),
    ("replica_groups=[2,4]<=[2,2,2]T(1,0,2), x=[3,9]", (0, 1, 4, 5)),
    ("replica_groups={{0,5},{1,6}}", (0, 5)),
    ("source_target_pairs={{3,7},{7,3}}", (3, 7)),
    ("replica_groups={}", ()),
    ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_0'}, x=1", (0, 4)),
    ("replica_groups=mesh['a'=2,'b'=1,'c'=2] {'c'}", (0, 1)),
    ("replica_groups=mesh['a'=2,'b'=2] {'a','b'}", (0, 1, 2, 3)),
    # 0 to 7 as 2 x 4, transposed: the axis of size 4 takes consecutive ids.
    (
      "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}",
      (0, 1, 2, 3),
    ),
    (
      "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}",
      (0, 4),
    ),
  ],
)
def test_the_chips_of_a_collective(attributes, members):
  assert hlo.first_group(attributes) == members


def test_an_asynchronous_collective_moves_its_operands_once():
  text = """\
ENTRY %main (x: f32[4,8]) -> f32[8,8] {
  %x = f32[4,8]{1,0} parameter(0)
  %begun = (f32[4,8]{1,0}, f32[8,8]{1,0}) all-gather-start(%x), channel_id=1, \
replica_groups=[1,2]<=[2], dimensions={0}
  ROOT %done = f32[8,8]{1,0} all-gather-done(%begun)
}
"""
  found = hlo.traffic(text)
  assert found.hbm_bytes == {Place("", False): (4 + 8) * ROW}


@pytest.mark.parametrize(
  ("header", "chips"),
  [
    ("HloModule jit_f, is_scheduled=true", 1),
    ("HloModule jit_f, num_partitions=8", 8),
    ("HloModule jit_f, replica_count=2, num_partitions=4", 8),
  ],
)
def test_without_groups_all_chips_participate(header, chips):
  text = f"""\
{header}

ENTRY %main (x: f32[4,8]) -> f32[4,8] {{
  %x = f32[4,8]{{1,0}} parameter(0)
  ROOT %sum = f32[4,8]{{1,0}} all-reduce(%x), channel_id=1, \
replica_groups={{}}, to_apply=%add
}}
"""
  (exchange,) = hlo.traffic(text).collectives
  assert (exchange.group, exchange.members) == (chips, ())
  assert exchange.sent_bytes == 2 * (chips - 1) / chips * 4 * ROW


# A loop created by the compiler: a counter from 0 to below 7, in given steps.
COUNTED = """\
%below (p: (u32[], f32[8,8])) -> pred[] {
  %limit = u32[]{:T(128)} constant(7), metadata={op_name="x"}
  %p = (u32[], f32[8,8]{1,0}) parameter(0)
  %i = u32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%body (q: (u32[], f32[8,8])) -> (u32[], f32[8,8]) {
  %q = (u32[], f32[8,8]{1,0}) parameter(0)
  %j = u32[] get-tuple-element(%q), index=0
  %x = f32[8,8]{1,0} get-tuple-element(%q), index=1
  %two = u32[] constant(STEP)
  %next = u32[] add(%j, %two)
  %sent = f32[8,8]{1,0} collective-permute(%x), channel_id=3, \
source_target_pairs={{0,1},{1,0}}
  ROOT %out = (u32[], f32[8,8]{1,0}) tuple(%next, %sent)
}

ENTRY %main (x: f32[8,8]) -> (u32[], f32[8,8]) {
  %x.1 = f32[8,8]{1,0} parameter(0)
  %zero = u32[] constant(0)
  %t = (u32[], f32[8,8]{1,0}) tuple(%zero, %x.1)
  ROOT %loop = (u32[], f32[8,8]{1,0}) while(%t), condition=%below, body=%body
}
"""


@pytest.mark.parametrize(
  ("step", "in_loop", "turns"),
  [("1", False, 7), ("2", False, 4), ("q", True, 5)],
)
def test_a_counted_loop_does_not_depend_on_the_data(step, in_loop, turns):
  found = hlo.traffic(COUNTED.replace("STEP", step), turns=5)
  (exchange,) = found.collectives
  assert (exchange.place.in_loop, exchange.turns) == (in_loop, turns)
  assert exchange.members == (0, 1)
