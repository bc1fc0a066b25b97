"""Mutants of losses and objectives, for `check_mutants.py`."""

from typing import NamedTuple

_CONTRASTIVE = "losses/contrastive.py"
_PAIR_LOSSES = "losses/pair_losses.py"
_SUPERVISED = "losses/supervised.py"
_PREFERENCE = "losses/preference.py"
_LOGPROBS = "ops/logprobs.py"
_BATCHES = "batches.py"
_OBJECTIVE = "training/objectives.py"
_BATCH_METRICS = "training/batch_metrics.py"
_STEP = "training/step.py"


class Mutant(NamedTuple):
  """A change to the package.

  Attributes:
    what: the mistake that it imitates.
    file: the changed file, relative to rlhf_gap/.
    old: text that occurs once in the file.
    new: its replacement.
  """

  what: str
  file: str
  old: str
  new: str


def _in(file: str, *changes: tuple[str, str, str]) -> list[Mutant]:
  return [Mutant(what, file, old, new) for what, old, new in changes]


MUTANTS = [
  *_in(
    _CONTRASTIVE,
    ("gpo: sign", "return f(beta * rho)", "return -f(beta * rho)"),
    ("gpo: swapped pair", "return f(beta * rho)", "return f(-beta * rho)"),
    ("gpo: dropped beta", "return f(beta * rho)", "return f(rho)"),
    ("gpo: beta inverted", "return f(beta * rho)", "return f(rho / beta)"),
    (
      "gpo: mean over the batch",
      "return f(beta * rho)",
      "return jnp.full_like(rho, f(beta * rho).mean())",
    ),
    ("squared: target 1/beta", "square(z - 0.5)", "square(z - 1.0)"),
    (
      "ipo: sign",
      "return jnp.square(beta * rho",
      "return -jnp.square(beta * rho",
    ),
    (
      "ipo: swapped pair",
      "square(beta * rho - 0.5)",
      "square(beta * -rho - 0.5)",
    ),
    ("ipo: dropped beta", "square(beta * rho - 0.5)", "square(rho - 0.5)"),
    (
      "ipo: beta inverted",
      "square(beta * rho - 0.5)",
      "square(rho / beta - 0.5)",
    ),
    (
      "ipo: target 1/beta",
      "square(beta * rho - 0.5)",
      "square(beta * rho - 1)",
    ),
    (
      "ipo: target negative",
      "square(beta * rho - 0.5)",
      "square(beta * rho + 0.5)",
    ),
    (
      "ipo: factor 1/2",
      "jnp.square(beta * rho - 0.5)",
      "0.5 * jnp.square(beta * rho - 0.5)",
    ),
    (
      "ipo: not squared",
      "jnp.square(beta * rho - 0.5)",
      "jnp.abs(beta * rho - 0.5)",
    ),
    (
      "azar: factor 1/2 of the target",
      "square(rho - 1 / (2 * beta))",
      "square(rho - 1 / beta)",
    ),
    (
      "azar: target beta (Tajwar's bandit)",
      "square(rho - 1 / (2 * beta))",
      "square(rho - beta)",
    ),
    (
      "azar: beta rho against 1/(2 beta) (Tajwar's trainer)",
      "square(rho - 1 / (2 * beta))",
      "square(beta * rho - 1 / (2 * beta))",
    ),
    ("calandriello: sign", "-rho + beta * jnp", "rho + beta * jnp"),
    ("calandriello: dropped beta", "-rho + beta * jnp", "-rho + jnp"),
    ("calandriello: dropped linear term", "-rho + beta * jnp", "beta * jnp"),
    ("eq1: factor 1/2", "square(rho - beta / 2)", "square(rho - beta)"),
    ("eq1: inverted", "square(rho - beta / 2)", "square(rho - 0.5 / beta)"),
    ("dpo: sign", "return -jax.nn.log_sig", "return jax.nn.log_sig"),
    ("dpo: swapped pair", "log_sigmoid(z)", "log_sigmoid(-z)"),
    (
      "dpo: unstable logarithm",
      "-jax.nn.log_sigmoid(z)",
      "-jnp.log(jax.nn.sigmoid(z))",
    ),
    ("dpo: smoothing ignored", "rho, 1 - label_smoothing)", "rho, 1.0)"),
    ("dpo: labels flipped", "rho, 1 - label_smoothing)", "rho, 0.0)"),
    (
      "dpo: smoothing halved",
      "rho, 1 - label_smoothing)",
      "rho, 1 - label_smoothing / 2)",
    ),
    ("hinge: swapped pair", "relu(1.0 - z)", "relu(1.0 + z)"),
    ("hinge: perceptron", "relu(1.0 - z)", "relu(-z)"),
    ("hinge: pulls back", "relu(1.0 - z)", "abs(1.0 - z)"),
    ("hinge: squared", "jax.nn.relu(1.0 - z)", "jax.nn.relu(1.0 - z) ** 2"),
    ("slic: swapped pair", "relu(delta - margin)", "relu(delta + margin)"),
    ("slic: sign", "relu(delta - margin)", "relu(margin - delta)"),
    ("slic: dropped delta", "relu(delta - margin)", "relu(-margin)"),
    ("label: not swapped", "* loss(-rho)", "* loss(rho)"),
    ("label: other one dropped", " + (1 - probability) * loss(-rho)", ""),
    (
      "label: turned round",
      "return probability * loss(rho) + (1 - probability) * loss(-rho)",
      "return probability * loss(-rho) + (1 - probability) * loss(rho)",
    ),
  ),
  *_in(
    _PAIR_LOSSES,
    ("Ipo: form ignored", ", form=self.form)", ")"),
    (
      "Ipo: announces the target 1/beta",
      "else 1 / (2 * self.beta)",
      "else 1 / self.beta",
    ),
    (
      "Ipo: eq1 announces the target 1/(2 beta)",
      "return self.beta / 2 if",
      "return 0.5 / self.beta if",
    ),
    (
      "Ipo: azar begins at 1/(2 beta)",
      "1 / (2 * self.beta) ** 2",
      "1 / (2 * self.beta)",
    ),
    (
      "Dpo: smoothing ignored",
      "beta=self.beta, label_smoothing=self.label_smoothing",
      "beta=self.beta",
    ),
    ("Dpo: target without 1/beta", "e) / e) / self.beta", "e) / e)"),
    ("Dpo: begins at 1/2", "return math.log(2)", "return 0.5"),
    ("Hinge: factor 1/2 of the target", "1 / self.beta", "0.5 / self.beta"),
    ("Slic: with a reference", "reference = False", "reference = True"),
    (
      "log: units exchanged",
      '("averaged over tokens", "nats a token")',
      '("averaged over tokens", "nats")',
    ),
  ),
  *_in(
    _SUPERVISED,
    ("sft: sign", "return -seq", "return seq"),
    (
      "sft: mean over the batch",
      "return -seq",
      "return 0 * seq - seq.mean() #",
    ),
    ("best of two: sign", "return sft(ch", "return -sft(ch"),
    ("best of two: factor 1/2", "return sft(ch", "return 0.5 * sft(ch"),
  ),
  *_in(
    _PREFERENCE,
    ("preference: factor 1/2", "return 0.5 * (first", "return (first"),
    ("preference: one order", "(first + second)", "(first + first)"),
    (
      "preference: swapped pair",
      "-rejected_first_logit)",
      "rejected_first_logit)",
    ),
    (
      "preference: sign",
      "(chosen_first_logit, -rejected_first_logit)",
      "(-chosen_first_logit, rejected_first_logit)",
    ),
    (
      "preference: soft labels ignored",
      "log_odds, probability)",
      "log_odds, 1.0)",
    ),
  ),
  *_in(
    _LOGPROBS,
    (
      "tokens: pads summed",
      "where(mask, token_log_probs, 0.0)",
      "asarray(token_log_probs)",
    ),
    ("tokens: sum for mean", "mask) / count", "mask)"),
    (
      "tokens: mean over the padded width",
      "jnp.maximum(mask.sum(axis=-1), 1)",
      "mask.shape[-1]",
    ),
    (
      "tokens: EOS left out",
      "return tokens > PAD_ID",
      "return tokens > PAD_ID + 1",
    ),
  ),
  *_in(
    _BATCHES,
    (
      "judge: position bias kept",
      "0.5 * (self.judge_r12 + 1 - self.judge_r21)",
      "self.judge_r12",
    ),
    ("judge: factor 1/2", "return 0.5 * (self", "return (self"),
  ),
  *_in(
    _OBJECTIVE,
    (
      "objective: swapped pair",
      "rho = log_ratio[:, 0] - log_ratio[:, 1]",
      "rho = log_ratio[:, 1] - log_ratio[:, 0]",
    ),
    (
      "objective: dropped reference",
      "log_ratio = policy - reference",
      "log_ratio = policy",
    ),
    (
      "objective: rejected dropped",
      "rho = log_ratio[:, 0] - log_ratio[:, 1]",
      "rho = log_ratio[:, 0]",
    ),
    (
      "objective: reference summed beside a mean",
      "reference / jnp.maximum(pair.mask.sum(-1), 1)",
      "reference",
    ),
    (
      "objective: reference kept for SLiC",
      "rho if spec.loss.uses_reference else policy[:, 0] - policy[:, 1]",
      "rho",
    ),
    (
      "objective: sum for mean",
      '"mean": logprobs.sequence_mean',
      '"mean": logprobs.sequence_sum',
    ),
    (
      "objective: mean for sum",
      '{"sum": logprobs.sequence_sum',
      '{"sum": logprobs.sequence_mean',
    ),
    (
      "objective: soft labels ignored",
      "losses.with_label(spec.loss, margin, probability)",
      "spec.loss(margin)",
    ),
  ),
  *_in(
    _BATCH_METRICS,
    (
      "objective: weights dropped",
      "loss = (weight * values).sum()",
      "loss = values.sum()",
    ),
    (
      "objective: rows counted",
      '"weight": weight.sum(), ',
      '"weight": rows, ',
    ),
    (
      "objective: ties' responses left out",
      "counted.get(name, weight)",
      "weight",
    ),
    ("means: sums reported", "name: total * (over", "name: total + 0 * (over"),
    (
      "means: responses over the weight",
      "over_rows if name in",
      "over_weight if name in",
    ),
    (
      "objective: references swapped",
      "[batch.chosen_reference, batch.rejected_reference]",
      "[batch.rejected_reference, batch.chosen_reference]",
    ),
    (
      "objective: a tie is accurate",
      "0.5 * (1 + jnp.sign(margin))",
      "(margin >= 0).astype(jnp.float32)",
    ),
  ),
  *_in(
    _OBJECTIVE,
    (
      "best of two: imitates the loser",
      "reduce(scores[:, 0], pair.mask[:, 0])",
      "reduce(scores[:, 1], pair.mask[:, 1])",
    ),
    (
      "sft: mean over rows",
      "(batch.weight * lengths).sum()",
      "batch.weight.sum()",
    ),
    (
      "preference: same order twice",
      "(batch.rejected, batch.chosen))",
      "(batch.chosen, batch.rejected))",
    ),
    (
      "preference: soft labels ignored",
      "preference_model(chosen_first, rejected_first, probability)",
      "preference_model(chosen_first, rejected_first)",
    ),
    (
      "preference: accuracy of one order",
      "above_zero(r12 - r21)",
      "above_zero(r12 - 0.5)",
    ),
  ),
  *_in(
    _STEP,
    ("step: ascends", "lambda g: g * scale", "lambda g: -g * scale"),
    (
      "step: keeps the old state",
      "is_finite), new, state",
      "is_finite), state, new",
    ),
  ),
]
