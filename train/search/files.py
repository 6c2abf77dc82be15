"""Names of the files of a study and of its trials."""

SETTINGS, TRIALS = "search.json", "trials"
"""In the folder of a study."""

TRIAL, ROW, RUN, SPEED, LOG = "trial.json", "row.json", "run.json", "speed.json", "log.txt"
"""In the folder of a trial: what it is of, what has become of it, its run file, its speed, what it said."""

OUTCOME, ORDER = "outcome.json", "order.json"
"""What a session has come to, and what it was asked for."""
