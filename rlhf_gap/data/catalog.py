"""Every task and mixture by its name. Plain Python, so that listing is quick.

A task is one of four views of a data set:

  sft         prompt to each of its responses
  pairs       prompt, chosen, rejected
  preference  prompt and two responses to A or B
  prompts     each prompt once

The miniatures' pretraining has a fifth, from any text to any other:

  text        span corruption and skills in words, to their targets
"""

import dataclasses
import difflib

from rlhf_gap import errors

KINDS = ("sft", "pairs", "preference", "prompts")
"""The views of comparisons."""

WINDOWS = {"inputs": 1024, "targets": 128}
"""The paper's windows, in tokens, EOS included."""
MINI_WINDOWS = {"inputs": 48, "targets": 16}
"""Room for a miniature's prompt with two responses of any length."""


@dataclasses.dataclass(frozen=True)
class TaskEntry:
  """One seqio task.

  Attributes:
    name: its name in `--gin.MIXTURE_OR_TASK_NAME` and `rlhf-gap data`.
    dataset: the source of its rows.
    kind: one of `KINDS`, or "text".
  """

  name: str
  dataset: str
  kind: str


TASKS = (
  TaskEntry("openai_summarization_sft", "openai_summarization", "sft"),
  TaskEntry("openai_summarization_pairs", "openai_summarization", "pairs"),
  TaskEntry(
    "openai_summarization_preference", "openai_summarization", "preference"
  ),
  TaskEntry("openai_summarization_prompts", "openai_summarization", "prompts"),
  TaskEntry("anthropic_helpfulness_sft", "anthropic_helpfulness", "sft"),
  TaskEntry("anthropic_helpfulness_pairs", "anthropic_helpfulness", "pairs"),
  TaskEntry(
    "anthropic_helpfulness_preference", "anthropic_helpfulness", "preference"
  ),
  TaskEntry(
    "anthropic_helpfulness_prompts", "anthropic_helpfulness", "prompts"
  ),
  TaskEntry("anthropic_harmlessness_sft", "anthropic_harmlessness", "sft"),
  TaskEntry("anthropic_harmlessness_pairs", "anthropic_harmlessness", "pairs"),
  TaskEntry(
    "anthropic_harmlessness_preference", "anthropic_harmlessness", "preference"
  ),
  TaskEntry(
    "anthropic_harmlessness_prompts", "anthropic_harmlessness", "prompts"
  ),
  TaskEntry("chat_arena_sft", "chat_arena", "sft"),
  TaskEntry("chat_arena_pairs", "chat_arena", "pairs"),
  TaskEntry("chat_arena_preference", "chat_arena", "preference"),
  TaskEntry("chat_arena_prompts", "chat_arena", "prompts"),
  TaskEntry("chat_arena_shared_prefix_sft", "chat_arena_shared_prefix", "sft"),
  TaskEntry(
    "chat_arena_shared_prefix_pairs", "chat_arena_shared_prefix", "pairs"
  ),
  TaskEntry(
    "chat_arena_shared_prefix_preference",
    "chat_arena_shared_prefix",
    "preference",
  ),
  TaskEntry(
    "chat_arena_shared_prefix_prompts", "chat_arena_shared_prefix", "prompts"
  ),
  TaskEntry("mini_summarization_sft", "mini_summarization", "sft"),
  TaskEntry("mini_summarization_pairs", "mini_summarization", "pairs"),
  TaskEntry(
    "mini_summarization_preference", "mini_summarization", "preference"
  ),
  TaskEntry("mini_summarization_prompts", "mini_summarization", "prompts"),
  TaskEntry("mini_helpfulness_sft", "mini_helpfulness", "sft"),
  TaskEntry("mini_helpfulness_pairs", "mini_helpfulness", "pairs"),
  TaskEntry("mini_helpfulness_preference", "mini_helpfulness", "preference"),
  TaskEntry("mini_helpfulness_prompts", "mini_helpfulness", "prompts"),
  TaskEntry("mini_harmlessness_sft", "mini_harmlessness", "sft"),
  TaskEntry("mini_harmlessness_pairs", "mini_harmlessness", "pairs"),
  TaskEntry("mini_harmlessness_preference", "mini_harmlessness", "preference"),
  TaskEntry("mini_harmlessness_prompts", "mini_harmlessness", "prompts"),
  TaskEntry("mini_arena_sft", "mini_arena", "sft"),
  TaskEntry("mini_arena_pairs", "mini_arena", "pairs"),
  TaskEntry("mini_arena_preference", "mini_arena", "preference"),
  TaskEntry("mini_arena_prompts", "mini_arena", "prompts"),
  TaskEntry("mini_pretrain", "mini_pretrain", "text"),
)

# The paper trains one SFT model on all four data sets (App. C).
MIXTURES = {
  "pooled_sft": (
    "openai_summarization_sft",
    "anthropic_helpfulness_sft",
    "anthropic_harmlessness_sft",
    "chat_arena_sft",
  ),
  "mini_pooled_sft": (
    "mini_summarization_sft",
    "mini_helpfulness_sft",
    "mini_harmlessness_sft",
    "mini_arena_sft",
  ),
}


def entries(name: str) -> tuple[TaskEntry, ...]:
  """Returns the task of that name, or all tasks of the mixture of that name.

  Raises:
    UserError: there is none; the message suggests the nearest name.
  """
  by_name = {entry.name: entry for entry in TASKS}
  if name in by_name:
    return (by_name[name],)
  if name in MIXTURES:
    return tuple(by_name[part] for part in MIXTURES[name])
  near = difflib.get_close_matches(name, [*by_name, *MIXTURES], n=1)
  hint = (
    f"did you mean {near[0]}?" if near else "rlhf-gap data --list names all"
  )
  raise errors.UserError(f"there is no task {name}; {hint}")


def windows(name: str) -> dict[str, int]:
  """Returns the windows, in tokens, that a task or mixture has by default."""
  procedural = is_procedural(entries(name)[0])
  return dict(MINI_WINDOWS if procedural else WINDOWS)


def listing() -> str:
  """Returns a line for each task and mixture: its name and its source."""
  both = {entry.name: entry.dataset for entry in TASKS} | {
    name: " + ".join(parts) for name, parts in MIXTURES.items()
  }
  width = max(map(len, both))
  return "\n".join(f"{name:<{width}}  {reads}" for name, reads in both.items())


def is_procedural(entry: TaskEntry) -> bool:
  """Returns whether a task's rows are generated rather than read from files."""
  return entry.dataset.startswith("mini_")
