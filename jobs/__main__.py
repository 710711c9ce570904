"""`freshet`, also as `python -m jobs`."""


def main() -> None:
    """The command line; ends the process with 0, 1 (failed) or 2 (bad input)."""
    from jobs.cli.group import freshet

    freshet(prog_name="freshet")


if __name__ == "__main__":
    main()
