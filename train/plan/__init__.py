"""What training on a cluster would take, before it is paid for: a step is simulated from measured costs."""
