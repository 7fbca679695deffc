"""The command line: `purethin show | plan | recipe | thin`, or `python -m purethin`.

Exit status: 0 done; 1 an error of the model, a file or a recipe, one message on standard error; 2
usage; 130 interrupted. Files are written whole or not at all.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from purethin.cli.arguments import parse, program
from purethin.errors import PurethinError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Args:
        argv: the arguments, those of the process if None.

    Raises:
        SystemExit: from argparse: 0 after --help and --version, 2 for anything that is not a
            command line of ours.
    """
    options = parse(argv)
    try:
        from purethin.cli.commands import run  # torch takes seconds: not for --help

        run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the interpreter flushes once more as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as the shell reports a program that SIGPIPE ended
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (PurethinError, OSError) as error:
        if options.debug:
            traceback.print_exc()
            return 1
        file, why = getattr(error, "filename", None), getattr(error, "strerror", None)
        print(f"{program()}: error: {f'{file}: {why}' if file else error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
