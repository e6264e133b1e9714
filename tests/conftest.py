"""Settings that hold for every test; set before anything imports torch or a Hugging Face library."""

import os

from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that would reach for the network fails instead
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # tests start subprocesses after tokenizing
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # `make test` runs as many files at a time as there are cores

# the same cases on every machine, and no time limit per case: the first one may import torch
settings.register_profile("vecspeak", derandomize=True, deadline=None, database=None)
settings.load_profile("vecspeak")
