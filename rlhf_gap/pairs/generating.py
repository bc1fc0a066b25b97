"""Generates a store of pairs sampled from two fixed checkpoints."""

import dataclasses

from rlhf_gap import checks, errors, progress, stores
from rlhf_gap.pairs.online import Generated
from rlhf_gap.pairs.recording import Recorder
from rlhf_gap.pairs.sources import Context


def generate(
  spec: Generated, context: Context, output: str, num_pairs: int
) -> stores.Store:
  """Samples, judges and stores pairs; a repeated call resumes.

  Prompts are used in a seeded order, each once per epoch.

  Args:
    spec: the two checkpoints, prompts and judge.
    context: reference, batch size and seed.
    output: the new store's directory.
    num_pairs: number of pairs, rounded up to whole batches.

  Returns:
    The complete store. Ties have weight 0.

  Raises:
    UserError: a store or checkpoint does not fit the others, `output` holds
      another store, or a policy's logits are not finite.
  """
  checks.counts(num_pairs=num_pairs)
  source = spec.open(context)
  manifest = source.manifest()
  sampled_from = {
    f"{side}.sha256": context.fingerprint(path)
    for side, path in (("first", spec.first), ("second", spec.second))
  }
  writer = stores.create(
    output,
    dataclasses.replace(manifest, source={**manifest.source, **sampled_from}),
  )
  recorder = Recorder(writer)
  num_batches = -(-num_pairs // context.batch_size)
  with progress.bar("generating", num_batches, "batches") as bar:
    bar.update(writer.num_chunks)
    for step in range(writer.num_chunks, num_batches):
      fetched = source.fetch(step, {})
      bad = fetched.provenance.first_bad_step if fetched.provenance else -1
      if int(bad) >= 0:
        raise errors.UserError(
          f"{spec.first} or {spec.second}: logits are not finite at token"
          f" {int(bad)} of a sample; the policy has diverged"
        )
      recorder.append(step, fetched)
      bar.update(1)
  recorder.finish()
  return stores.open(output)
