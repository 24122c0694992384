"""The command `trainkit`."""

from __future__ import annotations

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="evalkit-llm", prog_name="trainkit")
def main() -> None:
    """Fine-tune language models on question-answer rows, and mend the rows by what evalkit found.

    This version has no commands yet: checkpoints of any trainer can be evaluated with evalkit.
    """
