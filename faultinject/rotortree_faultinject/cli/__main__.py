"""``python -m rotortree_faultinject.cli`` is the ``rotortree-crash`` command."""

from rotortree_faultinject.cli.application import main

if __name__ == "__main__":
    main()
