"""Targets for tasks: from text columns as they are, from an endpoint, or from a local language model.

A task says in `teacher` what to ask; `vecspeak teach` asks it for every entity that has no text yet in the column that
the task reads, and joins the texts that pass the gates to the space, where `vecspeak train` finds them.

targets.parquet     every text with its entity, model, prompt and time, and why those that were refused were
targets.answers     what was asked, answered and spent (SQLite); another run goes on from there
"""
