"""Average two film models, weight by weight: the one a training began from, and the one it ended at.

    python pocket/blend.py OLD NEW --share 0.5      (folders holding pocket/ and films-elm/; writes into the package)

A fine-tuned model and its start, averaged, often predict held-out text better than either (Wortsman et al. 2022,
arXiv:2109.01903): the end fits the training films too closely, the start not closely enough.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from vecspeak.bundled import bundled_model_path
from vecspeak.store import pocket_folder, read_manifest

FILES = ("pocket/model.safetensors", "films-elm/adapter.safetensors")


def blended(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """(1 - share) old + share new, in the new one's dtypes."""
    assert {k: v.shape for k, v in old.items()} == {k: v.shape for k, v in new.items()}
    return {k: ((1 - share) * old[k].float() + share * v.float()).to(v.dtype).contiguous() for k, v in new.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the new one")
    args = parser.parse_args()
    package = pocket_folder().parent
    assert bundled_model_path().parent == package
    for file in FILES:
        weights = blended(load_file(args.old / file), load_file(args.new / file), args.share)
        temporary = package / f"{file}.tmp"
        save_file(weights, temporary, metadata={"format": "pt"})
        temporary.replace(package / file)
        print(f"{file}: {len(weights)} tensors")
    told = read_manifest(args.new / "films-elm")
    blend = {"share": args.share, "of": "the run below", "with": read_manifest(args.old / "films-elm").provenance}
    told = told.model_copy(update={"provenance": {"blend": blend, **told.provenance}})
    (package / "films-elm/elm.json").write_text(told.model_dump_json(indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
