"""`python -m trainkit`: the same program as `trainkit`."""

from trainkit.cli import main

if __name__ == "__main__":
    main()
