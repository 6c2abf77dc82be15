"""Our potential driven by other programs: each file needs one of them, see docs/adapters.md."""
