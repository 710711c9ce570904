"""Does the sum close? What went in came out as examples, was sampled away, has no label, is dead, or waits.

Each side is counted on its own. In: the topics that the joiner reads, event by event (`inputs`). Out:
what the joiner wrote (`outcomes`). What is in neither is `waiting` as long as one of its labels is open
or the joiner has not read it (its committed offsets tell), and `lost` after that, so that the sum can fail.

The unit is the impression, one item of one request; an event of `features` that can't be read counts as one.
An event that is in `dead-letters` counts there even if it repeats an earlier one, and as one impression when
it was too long for its letter.
"""

from collections import Counter
from collections.abc import Iterator
from math import isnan
from typing import Any

from jobs.spec import Job
from jobs.summary.inputs import Inputs, Letters, watermark_ms
from jobs.summary.outcomes import Outcomes
from pipelines.join.labels import Labels


def account_impressions(inputs: Inputs, outcomes: Outcomes, letters: Letters, job: Job) -> dict[str, Any]:
    """The sum of the impressions; `closes`: it holds, and nothing is lost or taught twice."""
    out: dict[str, set[str]] = {}
    for request_id, item_id in zip(outcomes.request_ids, outcomes.item_ids, strict=True):
        out.setdefault(request_id, set()).add(item_id)
    never_left = outcomes.sampled_away + outcomes.unlabelled
    waiting, lost = _unresolved(inputs, out, never_left, job)
    sums = {
        "in": inputs.impressions,
        "out": sum(map(len, out.values())),
        "sampled": outcomes.sampled_away.total(),
        "unlabelled": outcomes.unlabelled.total(),
        "dead": letters.reasons.total(),
        "waiting": waiting + inputs.unread_impressions,
    }
    duplicates = count_duplicates(outcomes, list(job.schema_.labels))
    return {
        **sums,
        "closes": _holds(sums) and not lost and not duplicates,
        "lost": lost,
        "duplicates": duplicates,
        "corrections": count_corrections(outcomes, list(job.schema_.labels)),
        "pooled": outcomes.pooled,
        "repeated": inputs.repeated_requests,
        "dead_by_reason": dict(letters.reasons),
    }


def _holds(sums: dict[str, int]) -> bool:
    return 2 * sums["in"] == sum(sums.values())


def _unresolved(
    inputs: Inputs, out: dict[str, set[str]], never_left: Counter[str], job: Job
) -> tuple[int, int]:
    """Impressions of which nothing came out, while a label is open and after the last."""
    longest_ms, now_ms = Labels(job.schema_).longest_ms, watermark_ms(inputs, job)
    waiting = lost = 0
    for request_id, shown in inputs.requests.items():
        came_out = len(shown.items & out.get(request_id, set()))
        missing = len(shown.items) - came_out - never_left[request_id]
        if not shown.is_read or shown.ts_ms + longest_ms > now_ms:
            waiting += missing
        else:
            lost += missing
    return waiting, lost


def count_duplicates(outcomes: Outcomes, labels: list[str]) -> int:
    """How often a label of an impression was taught, or corrected, although it had been."""
    seen: set[tuple[str, str, str, bool]] = set()
    lessons = 0
    for label in labels:
        for row, (mask, was) in enumerate(_masks(outcomes, label)):
            if mask == 1:
                lessons += 1
                seen.add((outcomes.request_ids[row], outcomes.item_ids[row], label, isnan(was)))
    return lessons - len(seen)


def count_corrections(outcomes: Outcomes, labels: list[str]) -> int:
    """How many examples take back what an earlier one taught."""
    corrected = {
        row for label in labels for row, (_, was) in enumerate(_masks(outcomes, label)) if not isnan(was)
    }
    return len(corrected)


def _masks(outcomes: Outcomes, label: str) -> Iterator[tuple[float, float]]:
    return zip(outcomes.columns[f"mask:{label}"], outcomes.columns[f"was:{label}"], strict=True)


def account_actions(inputs: Inputs, outcomes: Outcomes, letters: Letters, job: Job) -> dict[str, Any]:
    """The sum of the actions; `closes`: in = used by a label + of no use to any + dead + waiting.

    One that came to nothing because its label had been taught by another is used as well.
    """
    users, taught = _users(job), _taught(outcomes, job)
    used = {
        key for key in inputs.actions if any((*key[:2], label) in taught for label in users.get(key[2], ()))
    }
    missed = [key for key in inputs.actions if key not in used and key[2] in users]
    # Of copies that came before their request one is given up for all.
    rest = [key for key in missed if key not in inputs.dead_keys]
    sums = {
        "in": len(inputs.actions) - len(missed) + len(rest) + len(inputs.refused) + inputs.dead_actions,
        "used": len(used),
        "unused": sum(action not in users for _, _, action in inputs.actions) + len(inputs.refused),
        "dead": letters.reasons.total(),
        "waiting": _waiting(rest, inputs, job) + inputs.unread_actions,
    }
    unfounded = len(taught - {(*key[:2], label) for key in used for label in users[key[2]]})
    return {
        **sums,
        "closes": _holds(sums) and not unfounded,
        "unfounded": unfounded,
        "repeated": inputs.repeated_actions + len(missed) - len(rest),
        "dead_by_reason": dict(letters.reasons),
    }


def _users(job: Job) -> dict[str, list[str]]:
    """The labels that use each action."""
    users: dict[str, list[str]] = {}
    for name, label in job.schema_.labels.items():
        for action in label.actions:
            users.setdefault(action, []).append(name)
    return users


def _taught(outcomes: Outcomes, job: Job) -> set[tuple[str, str, str]]:
    """Each (request, item, label) that an action was behind."""
    taught: set[tuple[str, str, str]] = set()
    for name, label in job.schema_.labels.items():
        is_number = label.kind == "number"
        columns = (outcomes.columns[f"{kind}:{name}"] for kind in ("label", "mask", "otherwise"))
        for row, (value, mask, otherwise) in enumerate(zip(*columns, strict=True)):
            if mask == 1 and (otherwise != 1 if is_number else value == 1):
                taught.add((outcomes.request_ids[row], outcomes.item_ids[row], name))
    return taught


def _waiting(keys: list[tuple[str, str, str]], inputs: Inputs, job: Job) -> int:
    """How many actions the joiner may still make something of."""
    longest_ms, now_ms = Labels(job.schema_).longest_ms, watermark_ms(inputs, job)
    waiting = 0
    for key in keys:
        ts_ms, is_read = inputs.actions[key]
        shown = inputs.requests.get(key[0])
        # A number may leave when the window of its request ends.
        begins_ms = max(ts_ms, shown.ts_ms) if shown else ts_ms
        is_open = begins_ms + longest_ms > now_ms or (shown is not None and not shown.is_read)
        waiting += not is_read or is_open
    return waiting
