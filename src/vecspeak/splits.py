"""Split entities into train, validation and test, once and before anything else.

Entities that occur in one text together (the two films of a comparison) are kept on the
same side, so that no test text speaks of a training entity.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence


def split_entities(
    ids: Sequence[str], *, pairs: Iterable[tuple[str, str]], sizes: Mapping[str, int], salt: str
) -> dict[str, str]:
    """Assign each id to a side; connected ids share it.

    Args:
        ids: all entity ids, each once.
        pairs: ids that must end on the same side; a pair with an unknown id is ignored.
        sizes: how many ids each side takes, in the order of filling; the sizes sum to `len(ids)`.
        salt: names the split; another salt gives another split. The order depends on SHA-256
            of salt and id alone, so it is the same on every machine and for every file order.

    Returns:
        id -> side.

    Raises:
        ValueError: an id comes twice, the sizes do not sum to the number of ids, or taking the
            groups in that order leaves a side that no remaining group fits.
    """
    if len(set(ids)) != len(ids):
        raise ValueError(f"{len(ids) - len(set(ids))} of {len(ids)} ids come twice")
    if sum(sizes.values()) != len(ids):
        raise ValueError(f"sizes {dict(sizes)} sum to {sum(sizes.values())}, there are {len(ids)} ids")
    groups = _connected(ids, pairs)
    rank = {i: hashlib.sha256(f"{salt}:{i}".encode()).digest() for i in ids}
    groups.sort(key=lambda group: min(rank[i] for i in group))
    side_of: dict[str, str] = {}
    *first, last = sizes
    for side in first:
        room = sizes[side]
        for group in groups:
            # a giant component would make one side a single neighbourhood: at most a third
            if group[0] not in side_of and len(group) <= min(room, max(1, sizes[side] // 3)):
                side_of.update(dict.fromkeys(group, side))
                room -= len(group)
        if room:
            raise ValueError(f"side {side!r} could not be filled exactly: {room} of {sizes[side]} left")
    for i in ids:
        side_of.setdefault(i, last)
    return side_of


def _connected(ids: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    parent = {i: i for i in ids}

    def root(i: str) -> str:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in pairs:
        if a in parent and b in parent:
            parent[root(a)] = root(b)
    members: dict[str, list[str]] = defaultdict(list)
    for i in ids:
        members[root(i)].append(i)
    return list(members.values())
