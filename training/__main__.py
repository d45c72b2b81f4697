"""`python -m training`: train on one's own pictures, and list, show, run and compare recipes."""

from artifacts.commands import missing_extras_in_one_line, run_command

with missing_extras_in_one_line(__name__):
    from training.commands.group import main

__all__ = ["main"]

if __name__ == "__main__":
    run_command(main, "python -m training")
