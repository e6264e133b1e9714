"""Importing for answering leaves out what answering never uses, and spoils nothing for what comes after."""

import subprocess
import sys

LEFT_OUT = ("torch._dynamo", "torch.distributed.tensor", "scipy.optimize", "sympy")


def run(*lines: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_compiler_nor_distributed_tensors_nor_solvers_are_loaded():
    loaded = run(
        "import sys",
        "from vecspeak.imports import answering_only",
        "with answering_only():",
        "    from transformers import AutoModelForCausalLM",
        f"print([name for name in {LEFT_OUT} if name in sys.modules])",
    )
    assert loaded == "[]\n"


def test_a_model_loaded_so_runs_generates_and_compiles_afterwards():
    shapes = run(
        "import gc",
        "from vecspeak.imports import answering_only",
        "with answering_only():",
        "    from transformers import LlamaConfig, LlamaForCausalLM",
        "assert gc.isenabled()",
        "import torch, torch.distributed.tensor, scipy.optimize",
        "assert torch.distributed.is_available()",
        "size = dict(hidden_size=8, intermediate_size=8, num_attention_heads=2, num_key_value_heads=2)",
        "model = LlamaForCausalLM(LlamaConfig(vocab_size=20, num_hidden_layers=1, **size))",
        "tokens = torch.ones(1, 3, dtype=torch.long)",
        "plain = model(tokens).logits",
        "compiled = torch.compile(model, backend='eager')(tokens).logits",
        "assert torch.equal(plain, compiled)",
        "print(*model.generate(tokens, max_new_tokens=3, min_new_tokens=3, do_sample=False).shape)",
    )
    assert shapes == "1 6\n"


def test_another_wish_of_the_compiler_imports_it_after_all():
    run(
        "import torch",
        "from vecspeak.imports import _compiler_left_out",
        "with _compiler_left_out(torch):",
        "    assert torch._dynamo.disable(len) is len",
        "    assert torch._dynamo.disable(recursive=False)(len) is len",
        "    assert torch._dynamo.config.cache_size_limit",
        "import torch._dynamo",
        "assert torch._dynamo.disable(lambda: 1)() == 1",
    )
