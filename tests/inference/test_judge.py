"""The preference model's input, and its verdicts in both orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece

from rlhf_gap import errors, stores
from rlhf_gap.data import mini
from rlhf_gap.inference import judge
from rlhf_gap.models import t5

CONFIG = t5.T5Config(
  vocab_size=40,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=2,
  num_decoder_layers=1,
)
WORDS = judge.Words(
  response_a=(30, 31, 33), response_b=(30, 32, 33), a=34, b=35
)
PROMPT = jnp.array([[5, 6, 7, 8, 9, 1], [10, 1, 0, 0, 0, 0]], jnp.int32)
FIRST = jnp.array([[11, 12, 1], [13, 14, 15]], jnp.int32)
SECOND = jnp.array([[16, 1, 0], [1, 0, 0]], jnp.int32)


_assemble = jax.jit(
  judge.assemble, static_argnums=0, static_argnames=("length", "keep")
)


@pytest.fixture(scope="module")
def params():
  return t5.init(CONFIG, jax.random.key(0))


def _python_assemble(prompt, first, second, length, keep):
  """The layout by lists."""
  bare = [
    [t for t in part.tolist() if t > 1] for part in (prompt, first, second)
  ]
  tail = [*WORDS.response_a, *bare[1], *WORDS.response_b, *bare[2], 1]
  room = length - len(tail)
  cut = bare[0][-room:] if keep == "end" else bare[0][:room]
  joined = [*(cut if room else []), *tail]
  return joined + [0] * (length - len(joined))


@pytest.mark.parametrize("keep", ["end", "start"])
@pytest.mark.parametrize("length", [13, 14, 16, 30])
def test_the_input_is_the_parts_side_by_side(length, keep):
  joined = _assemble(WORDS, PROMPT, FIRST, SECOND, length=length, keep=keep)
  expected = [
    _python_assemble(*parts, length, keep)
    for parts in zip(PROMPT, FIRST, SECOND, strict=True)
  ]
  assert joined.tolist() == expected


def test_random_parts_are_joined_right():
  rng = np.random.default_rng(3)

  def ragged(rows, width):
    tokens = rng.integers(2, 30, (rows, width))
    lengths = rng.integers(0, width + 1, (rows, 1))
    return jnp.asarray(
      np.where(np.arange(width) < lengths, tokens, 0), jnp.int32
    )

  parts = ragged(50, 9), ragged(50, 5), ragged(50, 4)
  joined = _assemble(WORDS, *parts, length=18)
  for row, *one in zip(joined, *parts, strict=True):
    assert row.tolist() == _python_assemble(*one, 18, "end")


def test_a_length_that_would_cut_a_response_is_refused():
  with pytest.raises(ValueError, match="length=12 .*at least 13"):
    judge.assemble(WORDS, PROMPT, FIRST, SECOND, length=12)
  with pytest.raises(ValueError, match="keep='middle'"):
    judge.assemble(WORDS, PROMPT, FIRST, SECOND, length=13, keep="middle")


@jax.jit
def _compare(params, first, second):
  return judge.compare(CONFIG, params, WORDS, PROMPT, first, second, length=20)


def test_verdicts_are_the_softmax_over_a_and_b_in_both_orders(params):
  verdict = _compare(params, FIRST, SECOND)

  def probability_of_a(first, second):
    inputs = judge.assemble(WORDS, PROMPT, first, second, length=20)
    start = jnp.zeros((2, 1), jnp.int32)
    logits = jax.jit(t5.logits, static_argnums=0)(
      CONFIG, params, inputs, start
    )[:, 0]
    wide = np.exp(np.asarray(logits, np.float64))
    return wide[:, WORDS.a] / (wide[:, WORDS.a] + wide[:, WORDS.b])

  r12 = probability_of_a(FIRST, SECOND)
  r21 = probability_of_a(SECOND, FIRST)
  np.testing.assert_allclose(verdict.first_order, r12, atol=1e-6)
  np.testing.assert_allclose(verdict.second_order, r21, atol=1e-6)
  np.testing.assert_allclose(
    verdict.probability, (r12 + 1 - r21) / 2, atol=1e-6
  )
  np.testing.assert_allclose(verdict.margin, r12 - r21, atol=1e-6)
  np.testing.assert_allclose(
    verdict.position_bias, (r12 + r21) / 2 - 0.5, atol=1e-6
  )
  assert np.abs(verdict.position_bias).max() > 1e-3  # there is one to remove
  np.testing.assert_array_equal(verdict.label, (r12 > r21).astype(np.float32))


def test_swapping_the_pair_swaps_the_verdict(params):
  one = _compare(params, FIRST, SECOND)
  other = _compare(params, SECOND, FIRST)
  np.testing.assert_array_equal(one.label, 1 - other.label)
  np.testing.assert_allclose(one.probability, 1 - other.probability, atol=1e-6)


def test_a_response_against_itself_is_exactly_one_half(params):
  # The second row's responses differ in an EOS that the model is not shown.
  with_eos = jnp.array([[11, 12, 1, 0], [13, 14, 15, 1]], jnp.int32)
  without = jnp.array([[11, 12, 1, 0], [13, 14, 15, 0]], jnp.int32)
  verdict = _compare(params, with_eos, without)
  assert verdict.probability.tolist() == [0.5, 0.5]
  assert verdict.label.tolist() == [0.5, 0.5]
  assert verdict.margin.tolist() == [0.0, 0.0]


def test_judging_costs_one_encoder_pass_and_one_decoder_step(params):
  """Counted FLOPs: 2 B rows through the encoder, one decoder position."""
  batch = 32
  prompt = jnp.ones((batch, 12), jnp.int32) * 5
  response = jnp.ones((batch, 6), jnp.int32) * 6

  def flops(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled.cost_analysis()["flops"]

  def judged(p, first, second):
    return judge.compare(CONFIG, p, WORDS, prompt, first, second, length=24)

  def one_pass(p, inputs):
    start = jnp.zeros((inputs.shape[0], 1), jnp.int32)
    return t5.logits(CONFIG, p, inputs, start)

  whole = flops(judged, params, response, response + 1)
  inputs = jnp.ones((2 * batch, 24), jnp.int32)
  assert whole == pytest.approx(flops(one_pass, params, inputs), rel=0.05)


def test_the_words_are_single_pieces_of_the_vocabulary():
  words = judge.words_of(stores.sentencepiece(mini.VOCABULARY_PATH))
  decode = stores.decoder(stores.sentencepiece(mini.VOCABULARY_PATH))
  assert decode(words.response_a) == "[RESPONSE A]"
  assert decode(words.response_b) == "[RESPONSE B]"
  assert [decode([words.a]), decode([words.b])] == ["A", "B"]
  assert words.a != words.b


def test_a_vocabulary_without_the_answers_is_refused(tmp_path):
  corpus = tmp_path / "corpus.txt"
  corpus.write_text("only small words here and there\n" * 20)
  sentencepiece.SentencePieceTrainer.train(
    input=str(corpus),
    model_prefix=str(tmp_path / "small"),
    vocab_size=25,
    pad_id=0,
    eos_id=1,
    unk_id=4,  # not T5's 2: "A" must not pass for a known piece
    bos_id=2,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  with pytest.raises(errors.UserError, match=r"encodes 'A' as \[.*4\]"):
    judge.words_of(stores.sentencepiece(str(tmp_path / "small.model")))


def test_markers_take_25_tokens_in_bytes():
  """Each of "[RESPONSE A]" and "[RESPONSE B]" has 12 bytes; EOS is one more."""
  words = judge.words_of(stores.byte())
  assert judge.marker_tokens(words) == 25
  assert words.response_a == tuple(byte + 3 for byte in b"[RESPONSE A]")
  prompt, first, second = (
    jnp.asarray([ids], jnp.int32) for ids in ([70, 71, 1], [80, 1], [90, 91])
  )
  whole = judge.assemble(words, prompt, first, second, length=40)
  assert int((whole > 0).sum()) == 2 + 1 + 2 + 25
