"""Run `tfcpn.commands.import_lsp` from a checkout."""

from tfcpn.commands.import_lsp import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
