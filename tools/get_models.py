"""Run `tfcpn.commands.get_models` from a checkout."""

from tfcpn.commands.get_models import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
