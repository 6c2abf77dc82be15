"""The commands of `gfm-ase`, one module each; nothing heavy is imported before a command runs."""
