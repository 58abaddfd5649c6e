"""The command line: what to do about upsampling tones, in recordings and in models."""

import os
import sys
from collections.abc import Sequence

import tyro

from audioup.commands.errors import InputError
from audioup.commands.inspect import Inspect
from audioup.commands.measure import Measure
from audioup.commands.plan import Plan
from audioup.commands.report import Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after ``audioup``; by default those of the process.

    Returns:
        Exit status: 0 done, 1 some files failed, 2 bad input. (Wrong usage exits with 2 at once.)
    """
    app = tyro.extras.SubcommandApp()
    app.command(name="measure")(Measure)
    app.command(name="inspect")(Inspect)
    app.command(name="report")(Report)
    app.command(name="plan")(Plan)
    try:
        command = app.cli(args=arguments, prog="audioup", description=__doc__)
        return int(command.run())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python flushes it once more as it exits
        return 1


if __name__ == "__main__":
    sys.exit(main())
