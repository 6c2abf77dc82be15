"""Search of architectures and settings: trials, what stops them early, and what is told of them."""
