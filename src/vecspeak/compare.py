"""Two sets of entities: what differs, in words, with the direction between their means as a concept."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecspeak.answers import Answer, Question
from vecspeak.concepts import Concept
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.errors import ConfigError, PromptError
from vecspeak.labels import centre_of, distinct_words
from vecspeak.prompts import slot_names
from vecspeak.space import Point


@dataclass(frozen=True)
class Comparison:
    """What sets two sets of entities apart."""

    centres: tuple[Point, Point]
    words: tuple[str, str]
    """Words near to the one centre and not so near to the other."""
    concept: Concept
    """From the second set towards the first; its quality says whether the sets differ at all."""
    answer: Answer
    """To the question about both centres."""


def compare(
    elm: Elm, first: Sequence[str], second: Sequence[str], prompt: str, *, name: str, decoding: Decoding
) -> Comparison:
    """Compare two sets of entities of the model's space.

    Args:
        first, second: ids, at least two each.
        prompt: a question with two slots, the first set's centre and the second's.
        name: of the concept.

    Raises:
        ConceptError: too few entities, one in both sets, or a name that cannot be a concept's.
        PointError: an unknown id.
        PromptError: a prompt without exactly two slots.
        ConfigError: a model without a space.
    """
    space = elm.space
    if space is None:
        raise ConfigError("The model has no space to find entities in; load it with one.")
    slots = tuple(dict.fromkeys(slot_names(prompt)))
    if len(slots) != 2:
        raise PromptError(f"The prompt {prompt!r} needs two slots, as in 'How does {{x}} differ from {{y}}?'")
    concept = Concept.fit(space, first, second, name=name, force=True)
    sides = zip(("the first", "the second"), (first, second), strict=True)
    centres = tuple(centre_of(space, [space.row_number(id) for id in ids], label=label) for label, ids in sides)
    words = distinct_words(elm, centres)
    question = Question(prompt, dict(zip(slots, centres, strict=True)))
    answer = elm.ask_many([question], decoding=decoding)[0]
    return Comparison((centres[0], centres[1]), (words[0], words[1]), concept, answer)
