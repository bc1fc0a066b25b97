"""Tests of `rlhf_gap.data`."""
