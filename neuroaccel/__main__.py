"""``python -m neuroaccel``: the command line."""

from neuroaccel.cli.main import main

if __name__ == "__main__":
    main()
