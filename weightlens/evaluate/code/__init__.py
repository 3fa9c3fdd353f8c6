"""Programs that a model wrote: found in its answer, run behind a wall, judged from outside."""
