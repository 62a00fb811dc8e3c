"""``python -m rotortree.cli`` is the ``rotortree`` command."""

from rotortree.cli.application import main

if __name__ == "__main__":
    main()
