"""Open English WordNet -> glosses.tsv.gz, a line per word sense. Needs `pip install wn` and its data:

python -m wn download oewn:2024
python glosses.py

Senses that are names (Berlin is an instance of a city) are left out.
"""

import csv
import gzip

import wn  # pyright: ignore[reportMissingImports] - for this script only

LEXICON = "oewn:2024"
FIELDS = ("synset", "lexfile", "pos", "members", "definition", "example", "hypernyms")


def main() -> None:
    with gzip.open("glosses.tsv.gz", "wt", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        rows.writerow(FIELDS)
        for synset in wn.synsets(lexicon=LEXICON):
            if synset.get_related("instance_hypernym"):
                continue
            above = [_id(hypernym) for hypernym in synset.get_related("hypernym")]
            told = "|".join(synset.lemmas()), synset.definition(), " ; ".join(synset.examples()), "|".join(above)
            rows.writerow([_id(synset), synset.lexfile(), synset.pos, *told])


def _id(synset: "wn.Synset") -> str:
    return synset.id.removeprefix("oewn-")


if __name__ == "__main__":
    main()
