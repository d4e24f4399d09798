"""Run `tfcpn.commands.show_batch` from a checkout."""

from tfcpn.commands.show_batch import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
