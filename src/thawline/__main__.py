"""`python -m thawline`."""

from thawline.cli.app import main

if __name__ == "__main__":
    main()
